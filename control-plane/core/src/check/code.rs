//! What kinds of problems there are, and what to do about each.

use super::Violation;

/// A kind of problem. The word is stable, for programs; the hint is for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// A field does not hold what it takes.
    #[default]
    Field,
    Limit,
    KeyTaken,
    DependencyUnknown,
    Cycle,
    /// An expression cannot be read, or names what is not there.
    Expression,
    /// Something is of another type than its use, or than a schema says.
    Type,
    GoalUnknown,
    /// These only look like mistakes.
    SameWork,
    GoalUnserved,
    NeverRuns,
    NeverEnds,
    AgentUnknown,
    CapabilityUnknown,
}

impl Code {
    pub const ALL: [Code; 14] = [
        Code::Field,
        Code::Limit,
        Code::KeyTaken,
        Code::DependencyUnknown,
        Code::Cycle,
        Code::Expression,
        Code::Type,
        Code::GoalUnknown,
        Code::SameWork,
        Code::GoalUnserved,
        Code::NeverRuns,
        Code::NeverEnds,
        Code::AgentUnknown,
        Code::CapabilityUnknown,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Code::Field => "FIELD",
            Code::Limit => "LIMIT",
            Code::KeyTaken => "KEY_TAKEN",
            Code::DependencyUnknown => "DEPENDENCY_UNKNOWN",
            Code::Cycle => "CYCLE",
            Code::Expression => "EXPRESSION",
            Code::Type => "TYPE",
            Code::GoalUnknown => "GOAL_UNKNOWN",
            Code::SameWork => "SAME_WORK",
            Code::GoalUnserved => "GOAL_UNSERVED",
            Code::NeverRuns => "NEVER_RUNS",
            Code::NeverEnds => "NEVER_ENDS",
            Code::AgentUnknown => "AGENT_UNKNOWN",
            Code::CapabilityUnknown => "CAPABILITY_UNKNOWN",
        }
    }

    /// What to do about it, in a sentence.
    pub fn hint(self) -> &'static str {
        match self {
            Code::Field => "Write the field as `/openapi.json` and `/schemas/plan.json` describe it.",
            Code::Limit => "Make it smaller, or split the work over several tasks.",
            Code::KeyTaken => "Give each subtask a key of its own.",
            Code::DependencyUnknown => {
                "Name the key of a subtask beside it, or of one that the group around it depends on."
            }
            Code::Cycle => "Drop one of these dependencies; what is to happen again belongs in a `loop`.",
            Code::Expression => {
                "Write CEL over `outputs` and `states` of what it depends on, `input`, `context` and `item`."
            }
            Code::Type => {
                "Compare it with the `output_schema` of the subtask, or with what its agent declares \
                 (`downbeat agents --json`)."
            }
            Code::GoalUnknown => "Declare the goal under the plan's `goals`, or serve one that is there.",
            Code::SameWork => "Give them different inputs, or drop one.",
            Code::GoalUnserved => "Say `serves` at the subtask that reaches it, or add one that does.",
            Code::NeverRuns => "Change its `when` or `run_if`, or drop it.",
            Code::NeverEnds => "Change its `until`, or say `on_limit: complete` where that is meant.",
            Code::AgentUnknown => {
                "Correct the name, or start a worker for it: `downbeat worker --agent NAME -- COMMAND`."
            }
            Code::CapabilityUnknown => {
                "Correct the tag, or start a worker that has it: `downbeat worker --capability TAG ...`."
            }
        }
    }
}

impl Violation {
    /// See [`Code::hint`].
    pub fn hint(&self) -> &'static str {
        self.code.hint()
    }
}
