//! What a subtask does, as one word.

use downbeat_core::{draft::Does, plan::Node};
use downbeat_proto::v1 as pb;

use super::words::Word;

/// Of what kind a subtask is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Work,
    Approval,
    Signal,
    Timer,
    Group,
    Map,
    Loop,
    Round,
    Workflow,
}

impl Kind {
    pub(crate) fn of(node: &Node) -> Kind {
        match node.does {
            Does::Work => Kind::Work,
            Does::Approval(_) => Kind::Approval,
            Does::Signal(_) => Kind::Signal,
            Does::Timer(_) => Kind::Timer,
            Does::Group(_) => Kind::Group,
            Does::Map(_) => Kind::Map,
            Does::Loop(_) => Kind::Loop,
            Does::Round => Kind::Round,
            Does::Workflow(_) => Kind::Workflow,
        }
    }
}

impl Word for Kind {
    const NAME: &'static str = "SubtaskKind";
    const ALL: &'static [Kind] = &[
        Kind::Work,
        Kind::Approval,
        Kind::Signal,
        Kind::Timer,
        Kind::Group,
        Kind::Map,
        Kind::Loop,
        Kind::Round,
        Kind::Workflow,
    ];

    fn word(self) -> &'static str {
        match self {
            Kind::Work => "work",
            Kind::Approval => "approval",
            Kind::Signal => "signal",
            Kind::Timer => "timer",
            Kind::Group => "group",
            Kind::Map => "map",
            Kind::Loop => "loop",
            Kind::Round => "round",
            Kind::Workflow => "workflow",
        }
    }

    fn proto(self) -> i32 {
        let number = match self {
            Kind::Work => pb::SubtaskKind::Work,
            Kind::Approval => pb::SubtaskKind::Approval,
            Kind::Signal => pb::SubtaskKind::Signal,
            Kind::Timer => pb::SubtaskKind::Timer,
            Kind::Group => pb::SubtaskKind::Group,
            Kind::Map => pb::SubtaskKind::Map,
            Kind::Loop => pb::SubtaskKind::Loop,
            Kind::Round => pb::SubtaskKind::Round,
            Kind::Workflow => pb::SubtaskKind::Workflow,
        };
        number.into()
    }
}
