//! Numbers, of two kinds: ints, whose arithmetic is checked, and doubles. Nothing of lists, objects or JSON.

use std::cmp::Ordering;

use super::{clip, eval::Fault, syntax::Operator, value::Value};

/// The order of two numbers, exact also where a double cannot hold the int. `None`: one is not a number.
pub(super) fn compare_numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Double(b)) => compare_mixed(*a, *b),
        (Value::Double(a), Value::Int(b)) => compare_mixed(*b, *a).map(Ordering::reverse),
        _ => None,
    }
}

/// Two to the 63rd: the first double above every int.
const INTS_END: f64 = 9_223_372_036_854_775_808.0;

/// A double without a fraction as an int, where it fits.
#[expect(clippy::cast_possible_truncation, reason = "checked to fit")]
pub(super) fn whole(n: f64) -> Option<i64> {
    (n.trunc() == n && (-INTS_END..INTS_END).contains(&n)).then_some(n as i64)
}

fn compare_mixed(a: i64, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    let Some(floor) = whole(b.floor()) else {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    };
    let fraction = if b > b.floor() { Ordering::Less } else { Ordering::Equal };
    Some(a.cmp(&floor).then(fraction))
}

pub(super) fn negate(value: &Value) -> Result<Value, Fault> {
    match value {
        Value::Int(n) => n.checked_neg().map(Value::Int).ok_or_else(overflow),
        Value::Double(n) => Ok(Value::Double(-n)),
        other => Err(Fault::Wrong(format!("expected a number, got {}", other.kind()))),
    }
}

/// Two ints give an int, with a double among them a double: JSON has one kind of number, and what was written as
/// 1.0 may come back as 1.
#[expect(clippy::cast_precision_loss, reason = "arithmetic with doubles rounds")]
pub(super) fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, Fault> {
    let (a, b) = match (left, right) {
        (Value::Int(a), Value::Int(b)) => return whole_numbers(operator, *a, *b),
        (Value::Double(a), Value::Double(b)) => (*a, *b),
        (Value::Int(a), Value::Double(b)) => (*a as f64, *b),
        (Value::Double(a), Value::Int(b)) => (*a, *b as f64),
        _ => {
            let (left, right) = (left.kind(), right.kind());
            return Err(Fault::Wrong(format!("cannot calculate with {left} and {right}")));
        }
    };
    match operator {
        Operator::Add => Ok(Value::Double(a + b)),
        Operator::Subtract => Ok(Value::Double(a - b)),
        Operator::Multiply => Ok(Value::Double(a * b)),
        Operator::Divide => Ok(Value::Double(a / b)),
        _ => Err(Fault::Wrong("expected ints for a remainder, got a double".into())),
    }
}

fn whole_numbers(operator: Operator, a: i64, b: i64) -> Result<Value, Fault> {
    if b == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
        return Err(Fault::Wrong(format!("{a} divided by zero")));
    }
    let result = match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide => a.checked_div(b),
        Operator::Remainder => a.checked_rem(b),
        _ => None,
    };
    result.map(Value::Int).ok_or_else(overflow)
}

fn overflow() -> Fault {
    Fault::Wrong("an int too large to calculate".into())
}

pub(super) fn to_int(value: &Value) -> Result<Value, Fault> {
    let converted = match value {
        Value::Int(n) => Some(*n),
        Value::Double(n) => whole(n.trunc()),
        Value::Text(text) => text.parse().ok(),
        other => return Err(Fault::Wrong(format!("expected a number or a string, got {}", other.kind()))),
    };
    converted.map(Value::Int).ok_or_else(|| Fault::Wrong("expected an int, got something else".into()))
}

#[expect(clippy::cast_precision_loss, reason = "what the function is for")]
pub(super) fn to_double(value: &Value) -> Result<Value, Fault> {
    match value {
        Value::Int(n) => Ok(Value::Double(*n as f64)),
        Value::Double(n) => Ok(Value::Double(*n)),
        Value::Text(text) => match text.parse() {
            Ok(n) => Ok(Value::Double(n)),
            Err(_) => Err(Fault::Wrong(format!("expected a number, got `{}`", clip(text)))),
        },
        other => Err(Fault::Wrong(format!("expected a number or a string, got {}", other.kind()))),
    }
}
