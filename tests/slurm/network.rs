//! The cluster's own network: a switch in a world of its own, and a cable from it to each node.

use std::process::Command;
use std::time::{Duration, Instant};

use super::conf;

const SWITCH: &str = "switch";

/// Makes the switch, with the login machine plugged in.
///
/// # Errors
///
/// The command that failed, and what it said.
pub fn set_up() -> Result<(), String> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", SWITCH, "type", "bridge"])?;
    ip(&["addr", "add", &format!("{}/24", conf::address(None)), "dev", SWITCH])?;
    ip(&["link", "set", SWITCH, "up"])
}

/// Lays a cable to the network in which this process lives; its far end is called `eth0`.
///
/// # Errors
///
/// The command that failed, and what it said.
pub fn plug_in(node: usize, process: u32) -> Result<(), String> {
    let cable = cable(node);
    ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &process.to_string()])?;
    ip(&["link", "set", &cable, "master", SWITCH, "up"])
}

/// Pulls a node's cable.
///
/// # Errors
///
/// If it has none, or `ip` refuses.
pub fn unplug(node: usize) -> Result<(), String> {
    ip(&["link", "set", &cable(node), "down"])
}

/// Plugs a node's cable in again.
///
/// # Errors
///
/// If it has none, or `ip` refuses.
pub fn replug(node: usize) -> Result<(), String> {
    ip(&["link", "set", &cable(node), "up"])
}

/// Gives this node its address, as soon as its cable has come.
///
/// # Errors
///
/// If it does not come within the limit, or `ip` refuses.
pub fn configure(node: usize, limit: Duration) -> Result<(), String> {
    let begin = Instant::now();
    while let Err(problem) = ip(&["link", "set", "eth0", "up"]) {
        if begin.elapsed() > limit {
            return Err(format!("the cable has not come: {problem}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    ip(&["link", "set", "lo", "up"])?;
    ip(&["addr", "add", &format!("{}/24", conf::address(Some(node))), "dev", "eth0"])
}

/// Runs a command that must succeed.
///
/// # Errors
///
/// The command, and what it said.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let told = |what: String| format!("{program} {}: {what}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output().map_err(|cause| told(cause.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| told(said.trim().to_owned()))
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run("ip", arguments)
}

fn cable(node: usize) -> String {
    format!("cable{node}")
}
