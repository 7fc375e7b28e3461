//! The type that an expression gives, from those of its variables. What is said here holds for every evaluation: a value
//! is of the type inferred, and what has no type fails. The rules are those of `eval`, each over sets of values.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    eval::shown,
    place::Words,
    syntax::{Function, Loop, LoopKind, Node, Operator},
    types::{BOOL, FALSE, LIST, NULL, NUMBER, OBJECT, TEXT, TRUE, Type},
    value::{Step, Value},
};

/// What was found out.
pub(super) struct Inference<'t> {
    variables: &'t BTreeMap<&'t str, Type>,
    words: Words,
    /// Paths that are asked for before they are used.
    asked: BTreeSet<String>,
    /// What cannot be meant, each with its place.
    pub(super) issues: Vec<String>,
}

/// What loops have bound, the innermost first.
struct Bound<'n> {
    name: &'n str,
    of: Type,
    outer: Option<&'n Bound<'n>>,
}

impl<'t> Inference<'t> {
    pub(super) fn new(text: &str, node: &Node, variables: &'t BTreeMap<&'t str, Type>) -> Inference<'t> {
        let mut asked = BTreeSet::new();
        collect_asked(node, &mut asked);
        Inference { variables, words: Words::of(text), asked, issues: Vec::new() }
    }

    pub(super) fn infer(&mut self, node: &Node) -> Type {
        self.of(node, None)
    }

    /// Says that something is wrong with a node.
    pub(super) fn say(&mut self, node: &Node, operator: Option<&str>, issue: &str) {
        let place = match node.path() {
            Some((root, steps)) => self.words.place(root, &steps, operator),
            None => node.root().map_or_else(String::new, |root| self.words.place(root, &[], None)),
        };
        let issue = format!("{place}{issue}");
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    fn of(&mut self, node: &Node, bound: Option<&Bound<'_>>) -> Type {
        match node {
            Node::Constant(value) => Type::of(value),
            Node::Variable(name) => match lookup(bound, name) {
                Some(of) => of.clone(),
                None => self.variables.get(name.as_str()).cloned().unwrap_or(Type::ANY),
            },
            Node::Member(inside, name) => {
                let of = self.of(inside, bound);
                self.member(node, inside, &of, name)
            }
            Node::Has(inside, name) => {
                let of = self.of(inside, bound).only(OBJECT);
                match (of.is_none(), of.member(name).is_none()) {
                    (true, _) => Type::NONE,
                    (false, true) => Type::kinds(FALSE),
                    (false, false) => Type::BOOL,
                }
            }
            Node::Index(inside, index) => self.index(node, inside, index, bound),
            Node::Not(inside) => {
                let of = self.truth(inside, bound);
                let flipped = |from, to| if of.may_be(from) { to } else { 0 };
                Type::kinds(flipped(TRUE, FALSE) | flipped(FALSE, TRUE))
            }
            Node::Negate(inside) => {
                let of = self.of(inside, bound);
                self.expect(inside, &of, NUMBER).only(NUMBER)
            }
            Node::And(left, right) => self.logic(left, right, FALSE, bound),
            Node::Or(left, right) => self.logic(left, right, TRUE, bound),
            Node::If(parts) => {
                let [condition, yes, no] = parts.as_ref();
                let of = self.truth(condition, bound);
                let (yes, no) = (self.of(yes, bound), self.of(no, bound));
                let taken = |kind, part: Type| if of.may_be(kind) { part } else { Type::NONE };
                taken(TRUE, yes).or(&taken(FALSE, no))
            }
            Node::Binary(operator, left, right) => self.binary(*operator, left, right, bound),
            Node::List(parts) => {
                let parts: Vec<Type> = parts.iter().map(|part| self.of(part, bound)).collect();
                if parts.iter().any(Type::is_none) {
                    return Type::NONE;
                }
                Type::list(parts.iter().fold(Type::NONE, |all, part| all.or(part)))
            }
            Node::Object(members) => self.object(members, bound),
            Node::Call(function, arguments) => self.call(*function, arguments, bound),
            Node::Loop(of) => self.each(of, bound),
        }
    }

    fn member(&mut self, node: &Node, inside: &Node, of: &Type, name: &str) -> Type {
        let member = of.member(name);
        if member.is_none() && !of.is_none() && !self.is_asked(node) {
            let what = described(inside);
            if of.may_be(OBJECT) {
                self.say(node, None, &format!("{what} has {}", of.without(name)));
            } else {
                self.say(node, None, &format!("{what} is {of}, and has no member `{}`", super::clip(name)));
            }
        }
        member
    }

    fn index(&mut self, node: &Node, inside: &Node, index: &Node, bound: Option<&Bound<'_>>) -> Type {
        if let Node::Constant(Value::Text(name)) = index {
            let of = self.of(inside, bound);
            return self.member(node, inside, &of, name);
        }
        let (of, at) = (self.of(inside, bound), self.of(index, bound));
        let member = match at.strings() {
            Some(names) => names.iter().fold(Type::NONE, |all, name| all.or(&of.member(name))),
            None if at.may_be(TEXT) => of.any_member(),
            None => Type::NONE,
        };
        let element = if at.may_be(NUMBER) { of.element() } else { Type::NONE };
        let found = member.or(&element);
        if found.is_none() && !of.is_none() && !at.is_none() && !of.may_be(LIST | OBJECT) {
            self.say(node, None, &format!("{} is {of}, and has no elements", described(inside)));
        }
        found
    }

    /// What is to be a boolean, as one.
    fn truth(&mut self, node: &Node, bound: Option<&Bound<'_>>) -> Type {
        let of = self.of(node, bound);
        self.expect(node, &of, BOOL).only(BOOL)
    }

    /// Says so when something is never of these kinds.
    fn expect<'o>(&mut self, node: &Node, of: &'o Type, kinds: u8) -> &'o Type {
        if !of.is_none() && !of.may_be(kinds) {
            self.say(node, None, &format!("{} is {of}; expected {}", described(node), Type::kinds(kinds)));
        }
        of
    }

    /// `&&` and `||`: the value that decides wins, even over an error.
    fn logic(&mut self, left: &Node, right: &Node, decides: u8, bound: Option<&Bound<'_>>) -> Type {
        let (left, right) = (self.truth(left, bound), self.truth(right, bound));
        let either = (left.may_be(decides) || right.may_be(decides)).then_some(decides);
        let other = BOOL & !decides;
        let both = (left.may_be(other) && right.may_be(other)).then_some(other);
        Type::kinds(either.unwrap_or(0) | both.unwrap_or(0))
    }

    fn binary(&mut self, operator: Operator, left: &Node, right: &Node, bound: Option<&Bound<'_>>) -> Type {
        let (a, b) = (self.of(left, bound), self.of(right, bound));
        if a.is_none() || b.is_none() {
            return Type::NONE;
        }
        let both = |kinds: u8| a.may_be(kinds) && b.may_be(kinds);
        let of = match operator {
            Operator::Equal | Operator::NotEqual if a.can_equal(&b) => Type::BOOL,
            Operator::Equal | Operator::NotEqual => {
                self.unlike(operator, left, right, &a, &b);
                Type::kinds(if operator == Operator::Equal { FALSE } else { TRUE })
            }
            Operator::In => return self.within(left, right, &a, &b),
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual
                if both(NUMBER) || both(TEXT) || both(BOOL) =>
            {
                Type::BOOL
            }
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                Type::NONE
            }
            Operator::Add => {
                let number = if both(NUMBER) { NUMBER } else { 0 };
                let text = if both(TEXT) { TEXT } else { 0 };
                let list = if both(LIST) { Type::list(a.element().or(&b.element())) } else { Type::NONE };
                Type::kinds(number | text).or(&list)
            }
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
                Type::kinds(if both(NUMBER) { NUMBER } else { 0 })
            }
        };
        if of.is_none() {
            let told = match operator {
                Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                    "have no order"
                }
                _ => "cannot be calculated with",
            };
            let issue = format!("{} is {a} and {} is {b}: these {told}", described(left), described(right));
            self.say_of(operator, left, right, &issue);
        }
        of
    }

    /// Of two that are never equal. To ask whether something is null is always right: a schema may be wrong.
    fn unlike(&mut self, operator: Operator, left: &Node, right: &Node, a: &Type, b: &Type) {
        let constant = |node: &Node| matches!(node, Node::Constant(_));
        if a.is_only(NULL) || b.is_only(NULL) || constant(left) && constant(right) {
            return;
        }
        let (what, other) = (described(left), described(right));
        let issue = match (a.strings(), b.strings()) {
            (Some(some), Some(others)) if a.is_only(TEXT | NULL) && b.is_only(TEXT | NULL) => {
                let (what, known, said) =
                    if constant(left) { (other, others, some) } else { (what, some, others) };
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let said = said.first().map_or("", String::as_str);
                let near = crate::check::nearest(said, &known);
                let listed: Vec<String> = known.iter().take(12).map(|word| format!("`{word}`")).collect();
                let then = if near.is_empty() { ";" } else { "" };
                format!(
                    "{what} is never `{}`{near}{then} it is one of {}",
                    super::clip(said),
                    listed.join(", ")
                )
            }
            _ => format!("{what} is {a} and {other} is {b}: these are never equal"),
        };
        self.say_of(operator, left, right, &issue);
    }

    fn within(&mut self, left: &Node, right: &Node, a: &Type, b: &Type) -> Type {
        let named = |names: &BTreeSet<String>| names.iter().any(|name| !b.member(name).is_none());
        let of_list = b.may_be(LIST) && a.can_equal(&b.element());
        let of_object = b.may_be(OBJECT) && a.may_be(TEXT) && a.strings().is_none_or(named);
        if !b.may_be(LIST | OBJECT) {
            self.say(right, None, &format!("{} is {b}; expected a list or an object", described(right)));
            return Type::NONE;
        }
        if of_list || of_object {
            return Type::BOOL;
        }
        // Nothing is in an empty list; somebody who asks whether a member is there may have older plans in mind.
        if !b.may_be(OBJECT) && !b.element().is_none() && !a.is_only(NULL) {
            let issue = format!("{} is {a} and is never in {}", described(left), described(right));
            self.say_of(Operator::In, left, right, &issue);
        }
        Type::kinds(FALSE)
    }

    fn object(&mut self, members: &[(Node, Node)], bound: Option<&Bound<'_>>) -> Type {
        let (mut known, mut rest, mut fails) = (BTreeMap::new(), Type::NONE, false);
        for (name, value) in members {
            let (key, of) = (self.of(name, bound), self.of(value, bound));
            fails |= of.is_none() || !self.expect(name, &key, TEXT).may_be(TEXT);
            if let Node::Constant(Value::Text(name)) = name {
                known.insert(name.to_string(), of);
            } else {
                rest = rest.or(&of);
            }
        }
        if fails { Type::NONE } else { Type::object(known, rest) }
    }

    fn call(&mut self, function: Function, arguments: &[Node], bound: Option<&Bound<'_>>) -> Type {
        let (takes, gives) = match function {
            Function::Contains | Function::StartsWith | Function::EndsWith => (TEXT, Type::BOOL),
            Function::Size => (TEXT | LIST | OBJECT, Type::NUMBER),
            Function::String => (TEXT | NUMBER | BOOL, Type::TEXT),
            Function::Int | Function::Double => (TEXT | NUMBER, Type::NUMBER),
        };
        let mut fails = false;
        for argument in arguments {
            let of = self.of(argument, bound);
            fails |= !self.expect(argument, &of, takes).may_be(takes);
        }
        if fails { Type::NONE } else { gives }
    }

    fn each(&mut self, of: &Loop, bound: Option<&Bound<'_>>) -> Type {
        let over = self.of(&of.over, bound);
        if !self.expect(&of.over, &over, LIST | OBJECT).may_be(LIST | OBJECT) {
            return Type::NONE;
        }
        let names = match over.names() {
            _ if !over.may_be(OBJECT) => Type::NONE,
            Some(names) => Type::words(names),
            None => Type::TEXT,
        };
        let item = over.element().or(&names);
        // Where there is nothing to go through, nothing is looked at.
        let is_empty = item.is_none();
        let here = Bound { name: &of.variable, of: item, outer: bound };
        let holds = match &of.condition {
            _ if is_empty => Type::NONE,
            Some(condition) => self.truth(condition, Some(&here)),
            None => Type::kinds(TRUE),
        };
        let result = match &of.result {
            Some(result) if !is_empty => self.of(result, Some(&here)),
            _ => Type::NONE,
        };
        match of.kind {
            LoopKind::All => Type::kinds(TRUE | if holds.may_be(FALSE) { FALSE } else { 0 }),
            LoopKind::Exists => Type::kinds(FALSE | if holds.may_be(TRUE) { TRUE } else { 0 }),
            LoopKind::ExistsOne => Type::kinds(FALSE | if holds.may_be(TRUE) { TRUE } else { 0 }),
            LoopKind::Collect => Type::list(if holds.may_be(TRUE) { result } else { Type::NONE }),
        }
    }

    /// Says it where the operator stands, if one side of it is a path.
    fn say_of(&mut self, operator: Operator, left: &Node, right: &Node, issue: &str) {
        let node = if left.path().is_some() { left } else { right };
        let operator = if left.path().is_some() { Some(symbol(operator)) } else { None };
        self.say(node, operator, issue);
    }

    fn is_asked(&self, node: &Node) -> bool {
        node.path().is_some_and(|(root, steps)| self.asked.contains(&shown(root, &steps)))
    }
}

/// Paths that `has` or `in` asks for.
fn collect_asked(node: &Node, asked: &mut BTreeSet<String>) {
    let (of, name) = match node {
        Node::Has(of, name) => (Some(of), name.clone()),
        Node::Binary(Operator::In, left, of) => match left.as_ref() {
            Node::Constant(Value::Text(name)) => (Some(of), name.to_string()),
            _ => (None, String::new()),
        },
        _ => (None, String::new()),
    };
    if let Some((root, mut steps)) = of.and_then(|of| of.path()) {
        steps.push(Step::Name(name));
        asked.insert(shown(root, &steps));
    }
    node.parts().into_iter().for_each(|(part, _)| collect_asked(part, asked));
}

/// A node, as messages call it.
fn described(node: &Node) -> String {
    match (node.path(), node) {
        (Some((root, steps)), _) => format!("`{}`", shown(root, &steps)),
        (None, Node::Constant(Value::Text(text))) => format!("'{}'", super::clip(text)),
        (None, Node::Constant(Value::Int(n))) => n.to_string(),
        (None, Node::Constant(Value::Double(n))) => n.to_string(),
        (None, Node::Constant(Value::Bool(value))) => value.to_string(),
        (None, Node::Constant(Value::Null)) => "null".into(),
        (None, Node::Call(..) | Node::Binary(..) | Node::Negate(_)) => "what is calculated".into(),
        (None, _) => "what stands there".into(),
    }
}

fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::Remainder => "%",
        Operator::Equal => "==",
        Operator::NotEqual => "!=",
        Operator::Less => "<",
        Operator::LessOrEqual => "<=",
        Operator::Greater => ">",
        Operator::GreaterOrEqual => ">=",
        Operator::In => "in",
    }
}

fn lookup<'b>(mut bound: Option<&'b Bound<'b>>, name: &str) -> Option<&'b Type> {
    while let Some(here) = bound {
        if here.name == name {
            return Some(&here.of);
        }
        bound = here.outer;
    }
    None
}
