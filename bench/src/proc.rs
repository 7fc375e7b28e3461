//! What Linux says about processes, from `/proc`. Nothing where there is none.

use std::fs;

/// Ticks of `/proc/PID/stat` a second, fixed in Linux' interface to programs.
const TICKS_PER_S: f64 = 100.0;

/// Processor time of one process so far, in seconds.
pub(crate) fn cpu_s(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.own)
}

/// Processor time so far of a process, its children now and those it has waited for, in seconds.
pub(crate) fn family_cpu_s(pid: u32) -> f64 {
    let parent = stat(pid).map_or(0.0, |stat| stat.own + stat.waited_for);
    let children = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = children.filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?));
    parent + children.filter(|child| child.parent == pid).map(|child| child.own).sum::<f64>()
}

/// Resident memory in KiB.
pub(crate) fn rss_kib(pid: u32) -> Option<u64> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Bytes that a process has caused to be written to disks so far.
pub(crate) fn written_bytes(pid: u32) -> Option<u64> {
    field(&format!("/proc/{pid}/io"), "write_bytes:")
}

/// The load average over one minute: who else is busy here.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

struct Stat {
    parent: u32,
    own: f64,
    waited_for: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name, in parentheses, with anything in it.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: (ticks(11)? + ticks(12)?) / TICKS_PER_S,
        waited_for: (ticks(13)? + ticks(14)?) / TICKS_PER_S,
    })
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}
