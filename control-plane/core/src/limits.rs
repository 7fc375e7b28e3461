//! Every bound on what may come in, each refused with its name and value.

/// A task id, in bytes. Long enough for a URL-safe path, short enough for an index key.
pub const TASK_ID_BYTES: usize = 200;
/// A title, in bytes: one line in every list.
pub const TITLE_BYTES: usize = 500;
/// A description, in bytes.
pub const DESCRIPTION_BYTES: usize = 64 * 1024;
/// A subtask's key, an agent's name or a capability tag, in bytes.
pub const NAME_BYTES: usize = 100;
/// Capability tags of one subtask or one agent.
pub const CAPABILITIES: usize = 64;
/// Subtasks of one plan.
pub const PLAN_SUBTASKS: usize = 10_000;
/// Subtasks on the longest path of one plan.
pub const PLAN_DEPTH: usize = 1_000;
/// Dependencies of one plan, all subtasks together: bounds the work of one completion.
pub const PLAN_DEPENDENCIES: usize = 100_000;
/// The input of one subtask, in bytes of JSON.
pub const INPUT_BYTES: usize = 256 * 1024;
/// The output of one subtask, in bytes of JSON.
pub const OUTPUT_BYTES: usize = 1024 * 1024;
/// A task's metadata, in bytes of JSON; `metadata.context` travels with every brief that asks for no other context.
pub const METADATA_BYTES: usize = 256 * 1024;
/// One request on any face, and the inputs of one plan together, in bytes.
pub const REQUEST_BYTES: usize = 16 * 1024 * 1024;
/// Nesting of a JSON document.
pub const JSON_DEPTH: usize = 100;
/// Artifacts of one output.
pub const ARTIFACTS: usize = 100;
/// A URI, media type or digest of an artifact, in bytes.
pub const ARTIFACT_FIELD_BYTES: usize = 2_000;
/// A failure's message, a progress line, a reason, in bytes; longer ones are cut.
pub const MESSAGE_BYTES: usize = 4 * 1024;
/// An SLA, in seconds: 30 days.
pub const SLA_SECONDS: u32 = 30 * 24 * 3600;
/// Attempts a plan may ask for.
pub const ATTEMPTS: u16 = 100;
/// Agents of one worker.
pub const WORKER_AGENTS: usize = 100;
/// Slots of one worker.
pub const WORKER_SLOTS: u32 = 10_000;
/// Leases that a worker may name when it resumes: running ones, and results without an acknowledgement.
pub const WORKER_LEASES: usize = 20_000;
/// Labels of one worker.
pub const WORKER_LABELS: usize = 64;
/// Levels of groups within groups of one plan: each is a step on the way to every expansion below it.
pub const GROUP_DEPTH: usize = 8;
/// Tasks within tasks: what contains itself ends here.
pub const NESTING_DEPTH: u32 = 8;
/// Subtasks of one task over its whole life, with what it grew by.
pub const TASK_SUBTASKS: usize = 100_000;
/// Elements of one map.
pub const MAP_ELEMENTS: usize = 10_000;
/// Rounds of one loop.
pub const LOOP_ITERATIONS: u32 = 1_000;
/// What the outputs of a group make together, in bytes of JSON.
pub const GROUP_OUTPUT_BYTES: usize = 8 * 1024 * 1024;
/// Groups of people that an approval goes to, one after the other.
pub const APPROVER_LEVELS: usize = 10;
/// Names and roles of one such group.
pub const APPROVERS: usize = 100;
/// People who have to agree.
pub const QUORUM: u32 = 100;
/// What can be chosen of.
pub const OPTIONS: usize = 20;
/// Signals of one task that came before anything waited for them.
pub const SIGNALS: usize = 100;
/// What a signal carries, in bytes of JSON.
pub const SIGNAL_BYTES: usize = 64 * 1024;
/// Steps of all expressions together that are asked about one signal, or by one gate about the signals that wait: as
/// long as one alone may take.
pub const SIGNAL_STEPS: u64 = EXPRESSION_STEPS;
/// An expression, in bytes: a condition that fits a screen.
pub const EXPRESSION_BYTES: usize = 2_000;
/// Tokens of one expression: what the parser builds is at most as deep, and is dropped by recursion.
pub const EXPRESSION_TOKENS: usize = 1_000;
/// Nesting of one expression, and the operators of one chain: parsing and evaluating recurse.
pub const EXPRESSION_DEPTH: usize = 64;
/// Steps of one evaluation, which runs inside the committer: an operation, an element looked at or built, some
/// bytes read or written. All of them together take a fifth of a second at worst, and some tens of megabytes.
pub const EXPRESSION_STEPS: u64 = 1_000_000;
/// Agents that a subtask falls back to, one after the other.
pub const FALLBACKS: usize = 10;
/// Codes of errors that are not tried again.
pub const CODES: usize = 100;
/// The parameters' schema and the plan of one version of a stored workflow, in bytes of JSON.
pub const WORKFLOW_BYTES: usize = 1024 * 1024;
/// Secrets that one stored workflow may name.
pub const SECRETS: usize = 100;
/// Snapshots of one task.
pub const SNAPSHOTS: usize = 100;
/// Goals of one plan, and of those what one subtask serves.
pub const GOALS: usize = 100;
/// A JSON Schema of an output or an input, in bytes: read at every look at a plan that uses it.
pub const SCHEMA_BYTES: usize = 32 * 1024;
/// The task that one schedule starts, in bytes of JSON: it is read again for each firing.
pub const SCHEDULED_BYTES: usize = 256 * 1024;
/// A cron expression, in bytes.
pub const CRON_BYTES: usize = 200;
/// Between two due times of an interval, in seconds: 366 days.
pub const EVERY_SECONDS: u32 = 366 * 24 * 3600;
/// The shortest catch-up window, in seconds: a database that is away for a moment makes nothing missed.
pub const CATCH_UP_SECONDS_MIN: u32 = 10;
/// The longest catch-up window, in seconds: 7 days.
pub const CATCH_UP_SECONDS: u32 = 7 * 24 * 3600;
/// Firings that are kept of one schedule: the newest.
pub const FIRINGS: usize = 50;
/// Due times that one request fills in.
pub const BACKFILL: usize = 100;
/// Due times that one request looks ahead.
pub const PREVIEW: u32 = 100;
/// The caller's own name for a trigger or a backfill, in bytes: it becomes part of the ids of tasks.
pub const TRIGGER_ID_BYTES: usize = 60;
/// Keys of one task's shared context, deleted ones too: the note that tells them is written with every write.
pub const CONTEXT_KEYS: usize = 500;
/// One value of the shared context, in bytes of JSON.
pub const CONTEXT_VALUE_BYTES: usize = 64 * 1024;
/// The values of one task's shared context together, in bytes of JSON: a brief may hold all of them.
pub const CONTEXT_BYTES: usize = 1024 * 1024;
/// What all writes to one task's shared context take, in bytes: old values stay, for snapshots and forks.
pub const CONTEXT_HISTORY_BYTES: u64 = 64 * 1024 * 1024;
