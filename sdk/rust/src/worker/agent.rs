//! What a worker declares about its agents, and the rules of the contract for it.

use std::time::Duration;

use serde_json::Value;

use crate::{Error, proto::AgentDeclaration};

/// The longest name or capability, in bytes; from the contract.
const NAME_BYTES_MAX: usize = 100;
/// The most capabilities of one agent; from the contract.
const CAPABILITIES_MAX: usize = 64;

/// A named specialist: what it is called, what it can do, how long it may take.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "an agent does nothing until a worker serves it"]
pub struct Agent {
    pub(crate) declaration: AgentDeclaration,
}

impl Agent {
    /// An agent by name: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 100 bytes.
    pub fn new(name: impl Into<String>) -> Self {
        Self { declaration: AgentDeclaration { name: name.into(), ..Default::default() } }
    }

    /// Adds a capability tag, of the same form as the name; at most 64. Subtasks are matched by it.
    pub fn capability(mut self, tag: impl Into<String>) -> Self {
        self.declaration.capabilities.push(tag.into());
        self
    }

    /// Adds a skill, for people and planners.
    pub fn skill(mut self, skill: impl Into<String>) -> Self {
        self.declaration.skills.push(skill.into());
        self
    }

    /// The domain it works in.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.declaration.domain = domain.into();
        self
    }

    /// What it does, for people and planners.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.declaration.description = description.into();
        self
    }

    /// How long an attempt may take, from start to close, where the plan says nothing. Rounded up to
    /// milliseconds.
    pub fn sla(mut self, sla: Duration) -> Self {
        self.declaration.sla_ms = millis(sla);
        self
    }

    /// An attempt that reports no progress for so long has timed out. Rounded up to milliseconds.
    pub fn progress_timeout(mut self, timeout: Duration) -> Self {
        self.declaration.progress_timeout_ms = millis(timeout);
        self
    }

    /// What it takes, as JSON Schema. Plans that hand it something else are refused.
    pub fn input_schema(mut self, schema: &Value) -> Self {
        self.declaration.input_schema = schema.to_string();
        self
    }

    /// What it delivers, as JSON Schema. Plans whose expressions use it otherwise are refused.
    pub fn output_schema(mut self, schema: &Value) -> Self {
        self.declaration.output_schema = schema.to_string();
        self
    }

    /// Refuses what the control plane would refuse, before anything is sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let AgentDeclaration { name, capabilities, .. } = &self.declaration;
        check_name("the name of the agent", name)?;
        for tag in capabilities {
            check_name(&format!("a capability of agent {name:?}"), tag)?;
        }
        if capabilities.len() > CAPABILITIES_MAX {
            let count = capabilities.len();
            let problem = format!(
                "agent {name:?} has {count} capabilities, and at most {CAPABILITIES_MAX} are allowed"
            );
            return Err(Error::InvalidWorker { problem });
        }
        Ok(())
    }
}

fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = name.as_bytes();
    let valid = bytes.len() <= NAME_BYTES_MAX
        && bytes.first().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || b"._-".contains(byte));
    if valid {
        return Ok(());
    }
    let problem =
        format!("{what} is {name:?}; expected [A-Za-z0-9][A-Za-z0-9._-]*, at most {NAME_BYTES_MAX} bytes");
    Err(Error::InvalidWorker { problem })
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
