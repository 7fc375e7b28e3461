//! From text to what is evaluated: the crate's parser behind bounds, and of its tree only what is offered here.
//! No values of a scope, and no evaluating.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::{
    IdedExpr,
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, ListExpr, LiteralValue, operators,
    },
    parser::pratt_parser::{Lexer, PrattParser, TokenKind},
};

use super::{
    clip,
    place::line_and_column,
    value::{Step, Value},
};
use crate::limits::{EXPRESSION_BYTES, EXPRESSION_DEPTH, EXPRESSION_TOKENS};

/// An expression, or a part of one.
pub(super) enum Node {
    Constant(Value),
    Variable(String),
    Member(Box<Node>, String),
    Has(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    If(Box<[Node; 3]>),
    Binary(Operator, Box<Node>, Box<Node>),
    List(Vec<Node>),
    Object(Vec<(Node, Node)>),
    Call(Function, Vec<Node>),
    Loop(Box<Loop>),
}

/// What is done with each element of a list, or each name of an object.
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) over: Node,
    pub(super) variable: String,
    /// The condition; for a map, whether an element is taken at all.
    pub(super) condition: Option<Node>,
    /// What a map makes of an element.
    pub(super) result: Option<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    /// `map` and `filter`.
    Collect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Contains,
    Double,
    EndsWith,
    Int,
    Size,
    StartsWith,
    String,
}

/// Parses a text.
///
/// # Errors
/// What is wrong, in a sentence, with the place where it is known.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    if text.trim().is_empty() {
        return Err("expected an expression, got nothing".into());
    }
    if text.len() > EXPRESSION_BYTES {
        return Err(format!("at most {EXPRESSION_BYTES} bytes (EXPRESSION_BYTES), got {}", text.len()));
    }
    bound_tokens(text)?;
    // The parser is sound on all that the tests feed it; a mistake in it must not end the one who calls.
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        let depth = u16::try_from(EXPRESSION_DEPTH).unwrap_or(u16::MAX);
        PrattParser::new()
            .max_recursion_depth(depth)
            .error_recovery_limit(0)
            .enable_ident_escape_syntax(true)
            .parse(text)
    }));
    match parsed {
        Ok(Ok(tree)) => Translation { text }.node(tree, 0),
        Ok(Err(errors)) => {
            let placed = errors.errors.iter().find(|error| error.pos.0 > 0);
            Err(match placed.or(errors.errors.first()) {
                Some(error) if error.pos.0 > 0 => {
                    format!("line {}, column {}: {}", error.pos.0, error.pos.1, lowered(&error.msg))
                }
                Some(error) => lowered(&error.msg),
                None => "not an expression".into(),
            })
        }
        Err(_) => Err("the parser gave up".into()),
    }
}

/// Where a name stands, as `line 1, column 3: `; empty when it cannot be found.
pub(super) fn place(text: &str, name: &str) -> String {
    let mut lexer = Lexer::new(text);
    let mut after_dot = false;
    for _ in 0..text.len() {
        let token = lexer.lex();
        match token.kind {
            TokenKind::TokEnd | TokenKind::TokError => break,
            TokenKind::TokWhitespace | TokenKind::TokComment => {}
            kind => {
                if !after_dot && text.get(token.start..token.end) == Some(name) {
                    return line_and_column(text, token.start);
                }
                after_dot = kind == TokenKind::TokDot;
            }
        }
    }
    String::new()
}

impl Node {
    /// The variable that members and elements are taken of, here and further inside.
    pub(super) fn root(&self) -> Option<&str> {
        let mut node = self;
        loop {
            match node {
                Node::Variable(name) => return Some(name),
                Node::Member(inside, _) | Node::Index(inside, _) => node = inside,
                _ => return None,
            }
        }
    }

    /// The variable and the steps of a plain path: `outputs['a'].items[0]`.
    pub(super) fn path(&self) -> Option<(&str, Vec<Step>)> {
        match self {
            Node::Variable(name) => Some((name, Vec::new())),
            Node::Member(inside, name) => {
                let (root, mut steps) = inside.path()?;
                steps.push(Step::Name(name.clone()));
                Some((root, steps))
            }
            Node::Index(inside, index) => {
                let Node::Constant(constant) = index.as_ref() else { return None };
                let step = match constant {
                    Value::Text(name) => Step::Name(name.to_string()),
                    Value::Int(at) => Step::At(usize::try_from(*at).ok()?),
                    _ => return None,
                };
                let (root, mut steps) = inside.path()?;
                steps.push(step);
                Some((root, steps))
            }
            _ => None,
        }
    }

    /// The parts, and for a loop the variable that is known in each of them.
    pub(super) fn parts(&self) -> Vec<(&Node, Option<&str>)> {
        match self {
            Node::Constant(_) | Node::Variable(_) => Vec::new(),
            Node::Member(a, _) | Node::Has(a, _) | Node::Not(a) | Node::Negate(a) => vec![(a, None)],
            Node::Index(a, b) | Node::And(a, b) | Node::Or(a, b) | Node::Binary(_, a, b) => {
                vec![(a, None), (b, None)]
            }
            Node::If(parts) => parts.iter().map(|part| (part, None)).collect(),
            Node::List(parts) | Node::Call(_, parts) => parts.iter().map(|part| (part, None)).collect(),
            Node::Object(members) => {
                members.iter().flat_map(|(name, value)| [(name, None), (value, None)]).collect()
            }
            Node::Loop(of) => std::iter::once((&of.over, None))
                .chain(of.condition.iter().chain(&of.result).map(|part| (part, Some(of.variable.as_str()))))
                .collect(),
        }
    }
}

/// Refuses what the parser would recurse over too deep, before it sees it: it bounds brackets by itself, but not
/// chains of `? :`, and what it builds of any chain is as deep as the chain is long.
fn bound_tokens(text: &str) -> Result<(), String> {
    let mut lexer = Lexer::new(text);
    let (mut tokens, mut open, mut choices) = (0, 0_usize, 0);
    // Each token takes a byte at least; the bound only holds should one ever not.
    for _ in 0..=text.len() {
        match lexer.lex().kind {
            TokenKind::TokEnd => break,
            TokenKind::TokWhitespace | TokenKind::TokComment => continue,
            TokenKind::TokLeftBracket | TokenKind::TokLeftBrace | TokenKind::TokLeftParen => open += 1,
            TokenKind::TokRightBracket | TokenKind::TokRightBrace | TokenKind::TokRightParen => {
                open = open.saturating_sub(1);
            }
            TokenKind::TokQuestion => choices += 1,
            _ => {}
        }
        tokens += 1;
        if open > EXPRESSION_DEPTH || choices > EXPRESSION_DEPTH {
            return Err(too_deep());
        }
        if tokens > EXPRESSION_TOKENS {
            return Err(format!("at most {EXPRESSION_TOKENS} tokens (EXPRESSION_TOKENS), got more"));
        }
    }
    Ok(())
}

fn too_deep() -> String {
    format!("nested deeper than {EXPRESSION_DEPTH} (EXPRESSION_DEPTH)")
}

fn lowered(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    clip(&first.into_iter().chain(chars).collect::<String>()).into_owned()
}

struct Translation<'t> {
    text: &'t str,
}

impl Translation<'_> {
    fn node(&self, tree: IdedExpr, depth: usize) -> Result<Node, String> {
        if depth >= EXPRESSION_DEPTH {
            return Err(too_deep());
        }
        let boxed = |tree: IdedExpr| self.node(tree, depth + 1).map(Box::new);
        match tree.expr {
            Expr::Literal(literal) => Ok(Node::Constant(constant(literal)?)),
            Expr::Ident(name) => Ok(Node::Variable(name)),
            Expr::Select(select) => {
                let inside = boxed(*select.operand)?;
                Ok(if select.test {
                    Node::Has(inside, select.field)
                } else {
                    Node::Member(inside, select.field)
                })
            }
            Expr::Call(call) => self.call(call, depth),
            Expr::List(list) => Ok(Node::List(self.nodes(list.elements, depth)?)),
            Expr::Map(map) => {
                let members = map.entries.into_iter().map(|entry| self.member(entry, depth));
                Ok(Node::Object(members.collect::<Result<_, _>>()?))
            }
            Expr::Comprehension(of) => self.each(*of, depth),
            Expr::Struct(of) => {
                let name = clip(&of.type_name).into_owned();
                Err(format!("{}no type `{name}`: messages are not offered", self.place(&name)))
            }
            Expr::Unspecified => Err("not an expression".into()),
        }
    }

    fn nodes(&self, trees: Vec<IdedExpr>, depth: usize) -> Result<Vec<Node>, String> {
        trees.into_iter().map(|tree| self.node(tree, depth + 1)).collect()
    }

    fn member(&self, entry: IdedEntryExpr, depth: usize) -> Result<(Node, Node), String> {
        match entry.expr {
            EntryExpr::MapEntry(entry) => {
                Ok((self.node(entry.key, depth + 1)?, self.node(entry.value, depth + 1)?))
            }
            EntryExpr::StructField(_) => Err("not an expression".into()),
        }
    }

    fn call(&self, call: CallExpr, depth: usize) -> Result<Node, String> {
        let CallExpr { func_name, target, args } = call;
        let is_method = target.is_some();
        let mut nodes = self.nodes(target.map(|it| *it).into_iter().chain(args).collect(), depth)?;
        if !is_method && nodes.len() == 3 && func_name == operators::CONDITIONAL {
            let parts: Result<Box<[Node; 3]>, _> = nodes.into_boxed_slice().try_into();
            return parts.map(Node::If).map_err(|_| "not an expression".into());
        }
        if !is_method && nodes.len() == 2 {
            let (Some(right), Some(left)) = (nodes.pop(), nodes.pop()) else {
                return Err("not an expression".into());
            };
            match func_name.as_str() {
                operators::LOGICAL_AND => return Ok(Node::And(left.into(), right.into())),
                operators::LOGICAL_OR => return Ok(Node::Or(left.into(), right.into())),
                operators::INDEX => return Ok(Node::Index(left.into(), right.into())),
                name => {
                    if let Some(operator) = operator(name) {
                        return Ok(Node::Binary(operator, left.into(), right.into()));
                    }
                }
            }
            nodes = vec![left, right];
        }
        if !is_method
            && nodes.len() == 1
            && matches!(func_name.as_str(), operators::LOGICAL_NOT | operators::NEGATE)
        {
            let Some(inside) = nodes.pop().map(Box::new) else { return Err("not an expression".into()) };
            return Ok(if func_name == operators::NEGATE { Node::Negate(inside) } else { Node::Not(inside) });
        }
        self.function(&func_name, is_method, nodes.len()).map(|function| Node::Call(function, nodes))
    }

    fn function(&self, name: &str, is_method: bool, arguments: usize) -> Result<Function, String> {
        let known = match (name, is_method, arguments) {
            ("size", _, 1) => Some(Function::Size),
            ("contains", true, 2) => Some(Function::Contains),
            ("startsWith", true, 2) => Some(Function::StartsWith),
            ("endsWith", true, 2) => Some(Function::EndsWith),
            ("string", false, 1) => Some(Function::String),
            ("int", false, 1) => Some(Function::Int),
            ("double", false, 1) => Some(Function::Double),
            _ => None,
        };
        known.ok_or_else(|| {
            format!(
                "no function `{}` like that; there are `size(x)`, `string(x)`, `int(x)`, `double(x)`, \
                 `x.contains(y)`, `x.startsWith(y)`, `x.endsWith(y)`, `has(x.y)`, `x.all(y, ..)`, \
                 `x.exists(y, ..)`, `x.exists_one(y, ..)`, `x.filter(y, ..)` and `x.map(y, ..)`",
                clip(name)
            )
        })
    }

    /// The parser has expanded the macros; each is known by what its accumulator starts with.
    fn each(&self, of: ComprehensionExpr, depth: usize) -> Result<Node, String> {
        let unknown = || "not an expression".to_owned();
        let Expr::Call(mut step) = of.loop_step.expr else { return Err(unknown()) };
        let (kind, condition, result) = match of.accu_init.expr {
            Expr::Literal(LiteralValue::Boolean(start)) => {
                let kind = if *start.inner() { LoopKind::All } else { LoopKind::Exists };
                (kind, step.args.pop(), None)
            }
            Expr::Literal(LiteralValue::Int(_)) if step.args.len() == 3 => {
                (LoopKind::ExistsOne, Some(step.args.swap_remove(0)), None)
            }
            Expr::List(_) if step.func_name == operators::CONDITIONAL && step.args.len() == 3 => {
                let taken = step.args.swap_remove(1);
                (LoopKind::Collect, Some(step.args.swap_remove(0)), appended(taken.expr))
            }
            Expr::List(_) => (LoopKind::Collect, None, appended(Expr::Call(step))),
            _ => return Err(unknown()),
        };
        if (kind == LoopKind::Collect) != result.is_some()
            || (kind != LoopKind::Collect) && condition.is_none()
        {
            return Err(unknown());
        }
        let part = |tree: Option<IdedExpr>| tree.map(|tree| self.node(tree, depth + 1)).transpose();
        Ok(Node::Loop(Box::new(Loop {
            kind,
            over: self.node(of.iter_range, depth + 1)?,
            variable: of.iter_var,
            condition: part(condition)?,
            result: part(result)?,
        })))
    }

    fn place(&self, name: &str) -> String {
        place(self.text, name)
    }
}

/// The `x` of `@result + [x]`.
fn appended(step: Expr) -> Option<IdedExpr> {
    let Expr::Call(CallExpr { mut args, .. }) = step else { return None };
    let Expr::List(ListExpr { mut elements, .. }) = args.pop()?.expr else { return None };
    elements.pop()
}

fn constant(literal: LiteralValue) -> Result<Value, String> {
    Ok(match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::Double(value) => Value::Double(*value.inner()),
        LiteralValue::String(value) => Value::text(value.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::Bytes(_) => return Err("bytes (`b'..'`) are not offered: JSON has none".into()),
        LiteralValue::UInt(_) => return Err("unsigned numbers (`1u`) are not offered: JSON has none".into()),
    })
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        operators::ADD => Operator::Add,
        operators::SUBSTRACT => Operator::Subtract,
        operators::MULTIPLY => Operator::Multiply,
        operators::DIVIDE => Operator::Divide,
        operators::MODULO => Operator::Remainder,
        operators::EQUALS => Operator::Equal,
        operators::NOT_EQUALS => Operator::NotEqual,
        operators::LESS => Operator::Less,
        operators::LESS_EQUALS => Operator::LessOrEqual,
        operators::GREATER => Operator::Greater,
        operators::GREATER_EQUALS => Operator::GreaterOrEqual,
        operators::IN => Operator::In,
        _ => return None,
    })
}
