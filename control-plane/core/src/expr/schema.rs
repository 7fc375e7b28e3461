//! From a JSON Schema to a type. What types have no use for, and what is not known here, says nothing about a value: it
//! leaves out none.

use std::cell::Cell;

use serde_json::{Map, Value as Json};

use super::types::{BOOL, FALSE, LIST, NULL, NUMBER, OBJECT, TEXT, TRUE, Type};

/// Schemas looked into for one type, and how deep: references may lead around, and multiply.
const SCHEMAS: usize = 5_000;
const DEPTH: usize = 32;

impl Type {
    /// The type of what a JSON Schema allows. A schema that cannot be read allows anything.
    pub fn from_schema(schema: &str) -> Type {
        serde_json::from_str(schema)
            .map_or(Type::ANY, |root: Json| Reader { root: &root, left: Cell::new(SCHEMAS) }.of(&root, 0))
    }
}

/// Why a text is no JSON Schema; `None`: it is an object or a boolean, with a `type` that there is.
pub fn schema_issue(schema: &str) -> Option<String> {
    match serde_json::from_str::<Json>(schema) {
        Ok(Json::Bool(_)) => None,
        Ok(Json::Object(schema)) => {
            let mut named = schema.get("type").into_iter().flat_map(|of| match of {
                Json::Array(all) => all.iter().collect(),
                one => vec![one],
            });
            let wrong = named.find(|of| of.as_str().and_then(kinds).is_none())?;
            Some(format!(
                "`type` must be `null`, `boolean`, `integer`, `number`, `string`, `array` or `object`, or some of \
                 them, got `{}`",
                super::clip(&wrong.to_string())
            ))
        }
        Ok(_) => Some("must be a JSON Schema: an object".into()),
        Err(error) => Some(format!("is not JSON: {error}")),
    }
}

fn kinds(word: &str) -> Option<u8> {
    Some(match word {
        "null" => NULL,
        "boolean" => BOOL,
        "integer" | "number" => NUMBER,
        "string" => TEXT,
        "array" => LIST,
        "object" => OBJECT,
        _ => return None,
    })
}

struct Reader<'s> {
    root: &'s Json,
    left: Cell<usize>,
}

impl Reader<'_> {
    fn of(&self, schema: &Json, depth: usize) -> Type {
        let Some(left) = self.left.get().checked_sub(1).filter(|_| depth < DEPTH) else { return Type::ANY };
        self.left.set(left);
        let schema = match schema {
            Json::Bool(false) => return Type::NONE,
            Json::Object(schema) => schema,
            _ => return Type::ANY,
        };
        // Each keyword leaves out values of its own; a value has to pass them all, so any one of them is right to say.
        let mut of = self.plain(schema, depth);
        for also in self.also(schema, depth) {
            of = if of.is_any() { also } else { of.narrowed(&also) };
        }
        if schema.get("nullable") == Some(&Json::Bool(true)) { of.or_null() } else { of }
    }

    /// What stands in the schema itself.
    fn plain(&self, schema: &Map<String, Json>, depth: usize) -> Type {
        let mut of = Type::ANY;
        if let Some(Json::Object(known)) = schema.get("properties") {
            let known = known.iter().map(|(name, schema)| (name.as_str(), self.of(schema, depth + 1)));
            let rest = match schema.get("additionalProperties") {
                Some(rest) if !schema.contains_key("patternProperties") => self.of(rest, depth + 1),
                _ => Type::ANY,
            };
            of = of.with_object(&Type::object(known, rest));
        } else if let Some(rest) = schema.get("additionalProperties")
            && !schema.contains_key("patternProperties")
        {
            of = of.with_object(&Type::object::<String>([], self.of(rest, depth + 1)));
        }
        if let Some(items) = schema.get("items")
            && !schema.contains_key("prefixItems")
            && !items.is_array()
        {
            of = of.with_list(&Type::list(self.of(items, depth + 1)));
        }
        let named = schema.get("type").and_then(|named| match named {
            Json::String(one) => kinds(one),
            Json::Array(some) => some.iter().try_fold(0, |all, one| Some(all | kinds(one.as_str()?)?)),
            _ => None,
        });
        named.map_or(of.clone(), |named| of.only(named))
    }

    /// What it says by values and by other schemas.
    fn also(&self, schema: &Map<String, Json>, depth: usize) -> Vec<Type> {
        let mut also = Vec::new();
        if let Some(Json::Array(values)) = schema.get("enum") {
            also.push(values.iter().fold(Type::NONE, |all, value| all.or(&literal(value))));
        }
        also.extend(schema.get("const").map(literal));
        for word in ["anyOf", "oneOf"] {
            if let Some(Json::Array(some)) = schema.get(word) {
                also.push(some.iter().fold(Type::NONE, |all, one| all.or(&self.of(one, depth + 1))));
            }
        }
        if let Some(Json::Array(all)) = schema.get("allOf") {
            also.extend(all.iter().map(|one| self.of(one, depth + 1)));
        }
        if let Some(Json::String(to)) = schema.get("$ref")
            && let Some(pointer) = to.strip_prefix('#')
            && let Some(found) = self.root.pointer(pointer)
        {
            also.push(self.of(found, depth + 1));
        }
        also
    }
}

/// The type of one value that stands in a schema.
fn literal(value: &Json) -> Type {
    match value {
        Json::Null => Type::NULL,
        Json::Bool(true) => Type::kinds(TRUE),
        Json::Bool(false) => Type::kinds(FALSE),
        Json::Number(_) => Type::NUMBER,
        Json::String(text) => Type::words([text.as_str()]),
        Json::Array(items) => Type::list(items.iter().fold(Type::NONE, |all, item| all.or(&literal(item)))),
        Json::Object(members) => {
            Type::object(members.iter().map(|(name, of)| (name.as_str(), literal(of))), Type::NONE)
        }
    }
}
