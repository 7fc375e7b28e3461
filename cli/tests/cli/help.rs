//! Help and completions: every command says what it is, with examples.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use crate::house::binary;

fn text(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn commands() -> Vec<String> {
    let help = text(binary().arg("--help"));
    let listed = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let lines = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn every_command_has_examples() {
    let commands = commands();
    assert!(commands.len() > 20 && !commands.contains(&"demo-agent".to_owned()), "{commands:?}");
    for command in commands.iter().filter(|command| *command != "help") {
        let help = text(binary().args([command, "--help"]));
        assert!(help.contains(&format!("downbeat {command}")) && help.contains("Examples:"), "{help}");
    }
}

#[test]
fn exit_codes_are_documented() {
    let help = text(binary().arg("--help"));
    for code in 0..=5 {
        assert!(help.contains(&format!("\n  {code}  ")), "exit code {code} in {help}");
    }
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(text(binary().args(["completions", shell])).contains("submit"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child =
        binary().args(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(complaint, "");
}
