//! The one place where commands are decided.

use std::sync::Arc;

use crate::{
    attempt,
    command::{Command, Reply},
    context, decide,
    effect::{Effect, Wake},
    execute, flow, gate, group,
    id::{ReplicaNo, SessionNo, TenantNo},
    nested,
    reads::{other_task_of, task_of},
    reject::Reject,
    rerun, review,
    rows::{AgentSeen, Rows},
    session::{Session, SessionState, WorkerDeclaration},
    snapshot, submit,
    time::Frame,
};

/// Decides one command on loaded rows: refuses it and changes nothing, or changes rows and replies.
/// Placement comes after all commands of the batch: [`place`](crate::place::place).
///
/// # Errors
/// A [`Reject`]; the rows are as they were.
///
/// # Panics
/// When an invariant is broken. The caller drops the batch's rows and goes on without this command.
pub fn apply(rows: &mut Rows, frame: &mut Frame<'_>, command: &Command) -> Result<Reply, Reject> {
    let reply = dispatch(rows, frame, command)?;
    decide::work_off(rows, frame);
    // A new task may have ended already, where nothing of it needs anybody.
    let created = match reply {
        Reply::Submitted { task, existed: false, .. } => Some(task),
        _ => None,
    };
    for task in task_of(command).or(created).into_iter().chain(other_task_of(command)) {
        flow::settle(rows, frame, task);
    }
    Ok(match (reply, task_of(command).and_then(|task| rows.task(task))) {
        (Reply::Executed { blocked, .. }, Some(head)) => Reply::Executed { status: head.status, blocked },
        (Reply::Rerun { subtasks, .. }, Some(head)) => Reply::Rerun { status: head.status, subtasks },
        (Reply::State(state), Some(head)) => {
            let now = match command {
                Command::Review { index, .. } => rows.subtask(head.no, *index).map(|sub| sub.state),
                _ => None,
            };
            Reply::State(now.unwrap_or(state))
        }
        (Reply::Submitted { task, status, existed }, None) => {
            let status = rows.task(task).map_or(status, |head| head.status);
            Reply::Submitted { task, status, existed }
        }
        (reply, _) => reply,
    })
}

fn dispatch(rows: &mut Rows, frame: &mut Frame<'_>, command: &Command) -> Result<Reply, Reject> {
    match command {
        Command::Submit(request) => submit::submit(rows, frame, request),
        Command::Execute { task, mode, checkpoints, served } => {
            execute::execute(rows, frame, *task, *mode, checkpoints, served)
        }
        Command::Pause { task } => execute::pause(rows, frame, *task),
        Command::Cancel { task, reason, compensate } => {
            execute::cancel(rows, frame, *task, reason, *compensate)
        }
        Command::Review { task, index, action, by } => review::review(rows, frame, *task, *index, action, by),
        Command::Decide { task, index, decision } => gate::decide(rows, frame, *task, *index, decision),
        Command::Signal { task, signal } => gate::signal(rows, frame, *task, signal),
        Command::Snapshot { task, name, by } => snapshot::take(rows, frame, *task, name, by),
        Command::WriteContext { task, write } => context::write(rows, frame, *task, write),
        Command::ReadContext { at, session, key } => Ok(context::read(rows, *at, *session, key.as_deref())),
        Command::Rerun { task, rerun } => rerun::rerun(rows, frame, *task, rerun),
        Command::Spawn { at, session, children } => group::spawn(rows, frame, *at, *session, children),
        Command::Route { task, index, route } => review::route(rows, frame, *task, *index, *route),
        Command::Finish { at, session, result } => {
            Ok(Reply::Verdict(attempt::finish(rows, frame, *at, *session, result)))
        }
        Command::Report { at, session, message } => {
            Ok(Reply::Verdict(attempt::report(rows, frame, *at, *session, message.as_deref())))
        }
        Command::Return { at, session, connection } => {
            attempt::hand_back(rows, frame, *at, *session, *connection);
            Ok(Reply::Done)
        }
        Command::Lose { at } => {
            attempt::lose(rows, frame, *at);
            Ok(Reply::Done)
        }
        Command::Silence { at } => {
            attempt::silence(rows, frame, *at);
            Ok(Reply::Done)
        }
        Command::Wake { task, index: None } => {
            execute::deadline(rows, frame, *task);
            Ok(Reply::Done)
        }
        Command::Wake { task, index: Some(index) } => {
            attempt::wake(rows, frame, *task, *index);
            Ok(Reply::Done)
        }
        Command::Attend { task, index, .. } => {
            decide::decide(rows, frame, *task, *index);
            Ok(Reply::Done)
        }
        Command::Refuse { task, index, attempt, code, reason } => {
            nested::refuse(rows, frame, (*task, *index), *attempt, code, reason);
            Ok(Reply::Done)
        }
        Command::Pass { task, index, inner, served } => {
            nested::pass(rows, frame, (*task, *index), *inner, served);
            Ok(Reply::Done)
        }
        Command::Join { inner, result, .. } => {
            nested::join(rows, frame, *inner, result);
            Ok(Reply::Done)
        }
        Command::Block { task, index } => {
            execute::block(rows, frame, *task, *index);
            Ok(Reply::Done)
        }
        Command::Unblock { task, index } => {
            execute::unblock(rows, frame, *task, *index);
            Ok(Reply::Done)
        }
        Command::OpenSession { tenant, replica, token, declaration } => {
            open(rows, frame, *tenant, *replica, *token, declaration)
        }
        Command::ResumeSession { tenant, session, replica, token, connection } => {
            resume(rows, *tenant, *session, *replica, *token, *connection)
        }
        Command::DetachSession { session, replica } => {
            detach(rows, frame, *session, *replica);
            Ok(Reply::Done)
        }
        Command::ExpireSession { session, overdue } => {
            expire(rows, frame, *session, *overdue);
            Ok(Reply::Done)
        }
        Command::DrainSession { session } => drain(rows, *session),
        Command::ForgetSession { session } => {
            forget(rows, *session);
            Ok(Reply::Done)
        }
    }
}

fn open(
    rows: &mut Rows,
    frame: &mut Frame<'_>,
    tenant: TenantNo,
    replica: ReplicaNo,
    token: [u8; 16],
    declaration: &Arc<WorkerDeclaration>,
) -> Result<Reply, Reject> {
    let no = frame.mint_session().ok_or(Reject::BatchFull)?;
    for agent in &declaration.agents {
        rows.add_agent(AgentSeen { tenant, declaration: agent.clone(), at: frame.now });
    }
    rows.insert_session(Session {
        no,
        tenant,
        replica,
        token,
        connection: 0,
        state: SessionState::Open,
        declaration: declaration.clone(),
        opened_at: frame.now,
        wake_at: None,
    });
    Ok(Reply::Session(no))
}

fn resume(
    rows: &mut Rows,
    tenant: TenantNo,
    session: SessionNo,
    replica: ReplicaNo,
    token: [u8; 16],
    connection: u32,
) -> Result<Reply, Reject> {
    let row = rows.session(session).ok_or(Reject::SessionUnknown)?;
    if row.tenant != tenant || row.token != token || row.state == SessionState::Expired {
        return Err(Reject::SessionUnknown);
    }
    // The same stream again: nobody knows whether the first commit went through, or it is taken back.
    let again = (connection, replica) == (row.connection, row.replica);
    if connection <= row.connection && !again {
        return Err(Reject::SessionTaken { connection: row.connection, got: connection });
    }
    let row = rows.session_mut(session);
    row.replica = replica;
    row.connection = connection;
    row.wake_at = None;
    if row.state == SessionState::Detached {
        row.state = SessionState::Open;
    }
    Ok(Reply::Session(session))
}

fn detach(rows: &mut Rows, frame: &Frame<'_>, session: SessionNo, replica: ReplicaNo) {
    let Some(row) = rows.session(session) else { return };
    let connected = matches!(row.state, SessionState::Open | SessionState::Draining) && row.wake_at.is_none();
    if row.replica != replica || !connected {
        return;
    }
    let at = frame.now.plus_ms(frame.policy.grace_ms);
    let row = rows.session_mut(session);
    // A draining one stays so: its row is all that remembers what the operator asked for.
    if row.state == SessionState::Open {
        row.state = SessionState::Detached;
    }
    row.wake_at = Some(at);
    rows.push(Effect::Wake { at, wake: Wake::Session(session) });
}

fn expire(rows: &mut Rows, frame: &Frame<'_>, session: SessionNo, overdue: bool) {
    let Some(row) = rows.session(session) else { return };
    let due = row.wake_at.is_some_and(|at| at <= frame.now);
    if row.state == SessionState::Expired || (overdue && !due) {
        return;
    }
    let row = rows.session_mut(session);
    row.state = SessionState::Expired;
    row.wake_at = None;
}

fn drain(rows: &mut Rows, session: SessionNo) -> Result<Reply, Reject> {
    let row = rows.session(session).ok_or(Reject::SessionUnknown)?;
    match row.state {
        SessionState::Open => rows.session_mut(session).state = SessionState::Draining,
        SessionState::Draining => {}
        SessionState::Detached | SessionState::Expired => return Err(Reject::SessionUnknown),
    }
    Ok(Reply::Done)
}

fn forget(rows: &mut Rows, session: SessionNo) {
    if rows.session(session).is_some_and(|row| row.state == SessionState::Expired) {
        rows.delete_session(session);
    }
}
