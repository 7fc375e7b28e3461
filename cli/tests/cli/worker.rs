//! `downbeat worker`: how it ends.

use crate::house::{Dev, wait_for};

fn connected(dev: &Dev) -> usize {
    dev.run(&["workers", "--json"]).ok().json()["workers"].as_array().unwrap().len()
}

#[test]
fn a_signal_drains_it() {
    let dev = Dev::new("drain-signal");
    let mut worker = dev.worker(&["a"], "cat");
    wait_for("the worker", || (connected(&dev) == 1).then_some(()));
    worker.terminate();
    assert!(worker.wait().success());
    wait_for("its goodbye", || (connected(&dev) == 0).then_some(()));
}

#[test]
fn an_operator_drains_it_by_its_name() {
    let dev = Dev::new("drain-name");
    let args = ["worker", "--agent", "a", "--name", "ada", "--label", "zone=a", "--", "cat"];
    let mut worker = crate::house::Process::start(&mut dev.command(&args));
    wait_for("the worker", || (connected(&dev) == 1).then_some(()));
    dev.run(&["workers", "--agent", "a"]).ok().says("zone=a");
    dev.run(&["drain", "ada"]).ok().says("ada");
    assert!(worker.wait().success());
}

#[test]
fn it_declares_what_it_is() {
    let dev = Dev::new("declares");
    let mut args =
        vec!["worker", "--agent", "a", "--capability", "x", "--capability", "y", "--skill", "reads"];
    args.extend(["--domain", "texts", "--sla", "1.5", "--progress-timeout", "9", "--", "cat"]);
    let _worker = crate::house::Process::start(&mut dev.command(&args));
    wait_for("the worker", || (connected(&dev) == 1).then_some(()));
    let agents = dev.run(&["agents", "--capability", "y", "--domain", "texts", "--json"]).ok().json();
    let agent = &agents["agents"][0];
    assert_eq!((agent["sla_seconds"].as_f64(), agent["skills"][0].as_str()), (Some(1.5), Some("reads")));
    assert_eq!(agent["progress_timeout_seconds"].as_f64(), Some(9.0));
    assert_eq!(
        dev.run(&["agents", "--capability", "z", "--json"]).ok().json()["agents"].as_array().unwrap().len(),
        0
    );
}
