//! Rows on their way to Postgres: each is one value of a composite type, so that all changes of a table are one
//! array. The types are in the migrations, one for each table that batches write.

use std::{fmt, slice};

use bytes::{BufMut, BytesMut};
use thiserror::Error;
use tokio_postgres::types::{Field, IsNull, Kind, ToSql, Type, to_sql_checked};

pub(super) type Encoded<T = ()> = Result<T, Box<dyn std::error::Error + Sync + Send>>;

/// A row that is not what its composite type says.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Misfit(String);

/// What can be sent as a row.
pub(super) trait Record: fmt::Debug {
    /// Puts the fields, in the order of the composite type.
    fn put(&self, fields: &mut Fields<'_>) -> Encoded;
}

/// The fields of a row that is being written.
pub(super) struct Fields<'a> {
    expected: slice::Iter<'a, Field>,
    out: &'a mut BytesMut,
}

impl Fields<'_> {
    /// The next field; it has to be of the type that the composite type says.
    pub(super) fn put(&mut self, value: impl ToSql) -> Encoded<&mut Self> {
        let field =
            self.expected.next().ok_or_else(|| Misfit("a row has more fields than its type".into()))?;
        self.out.put_u32(field.type_().oid());
        let length = self.out.len();
        self.out.put_i32(-1);
        if let IsNull::No = value.to_sql_checked(field.type_(), self.out)? {
            let bytes = i32::try_from(self.out.len() - length - 4)?;
            self.out[length..length + 4].copy_from_slice(&bytes.to_be_bytes());
        }
        Ok(self)
    }
}

/// A record as Postgres takes it.
#[derive(Debug)]
pub(super) struct Row<T>(pub(super) T);

impl<T: Record> ToSql for Row<T> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Encoded<IsNull> {
        let Kind::Composite(fields) = ty.kind() else {
            return Err(Misfit(format!("{ty} is no composite type")).into());
        };
        out.put_i32(i32::try_from(fields.len())?);
        let mut fields = Fields { expected: fields.iter(), out };
        self.0.put(&mut fields)?;
        match fields.expected.next() {
            None => Ok(IsNull::No),
            Some(missing) => Err(Misfit(format!("a row of {ty} has no {}", missing.name())).into()),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Composite(_))
    }

    to_sql_checked!();
}
