//! JSON texts, looked into without rounding a number or losing the order of members.

use std::fmt;

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of an object, in their order; `None` when it is none.
pub(crate) fn members(raw: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    let object = raw.get().starts_with('{');
    object.then(|| serde_json::from_str::<Members<'_>>(raw.get()).ok()).flatten().map(|members| members.0)
}

/// The elements of a list; `None` when it is none.
pub(crate) fn elements(raw: &RawValue) -> Option<Vec<&RawValue>> {
    let list = raw.get().starts_with('[');
    list.then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes the members of an object, or the elements of a list, with commas between them.
pub(crate) fn separated<T>(
    out: &mut String,
    brackets: [char; 2],
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push(brackets[0]);
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(brackets[1]);
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(InOrder).map(Members)
    }
}
