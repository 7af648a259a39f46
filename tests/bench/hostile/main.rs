//! A server under attack: strangers send what they should not, and users who behave are measured beside them.
//!
//! ```text
//! cargo bench --bench hostile -- [options] [attack…]
//!
//!   --seconds S    how long each attack takes (20)
//!   --frp          attack frp instead, whose programs FRPS_BIN and FRPC_BIN name
//!   attack         only attacks whose name contains this: kcp, quic, yamux, tls, garbage, replay, users
//! ```
//!
//! Everything runs in a network namespace of its own, made with `unshare` and `ip`, so it needs root. Attackers, users and
//! both ends of the tunnel share the machine: what an attack costs the users is the attackers' processor time too. The row
//! `nobody` is what users get without an attack.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its results, and a panic is how it fails"
)]

mod attacks;
mod target;
#[path = "../sidebyside/usage.rs"]
mod usage;
mod users;

use std::{
    env,
    process::{Command, exit},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use attacks::Attack;
use target::Target;
use users::Users;

/// Says to the program that it is in its namespace.
const INSIDE: &str = "--inside";

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

const MIB: f64 = 1024.0 * 1024.0;

struct Options {
    window: Duration,
    frp: bool,
    only: Vec<String>,
}

fn main() {
    let mut args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_none_or(|it| it != INSIDE) {
        // Cargo and its registry are out of reach in there.
        if !args.iter().any(|it| it == "--frp") {
            for role in [mgrok_lab::Role::Server, mgrok_lab::Role::Client] {
                let variable = match role {
                    mgrok_lab::Role::Server => "MGROKS_BIN",
                    mgrok_lab::Role::Client => "MGROKC_BIN",
                };
                args.insert(
                    0,
                    format!("{variable}={}", mgrok_lab::binary(role).display()),
                );
            }
        }
        exit(in_namespace(&args));
    }
    args.remove(0);
    run(&options(args.into_iter()));
}

/// Runs this program in a network namespace.
fn in_namespace(args: &[String]) -> i32 {
    let (variables, args): (Vec<_>, Vec<_>) = args.iter().partition(|it| it.starts_with("MGROK"));
    let status = Command::new("unshare")
        .args([
            "--net",
            "--",
            "sh",
            "-c",
            "ip link set lo up && exec \"$@\"",
            "sh",
            "env",
        ])
        .args(variables)
        .arg(env::current_exe().unwrap())
        .arg(INSIDE)
        .args(args)
        .status();
    match status {
        Ok(status) => status.code().unwrap_or(1),
        Err(error) => {
            eprintln!("cannot make a network namespace with unshare: {error}");
            1
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Options {
    let mut options = Options {
        window: Duration::from_secs(20),
        frp: false,
        only: Vec::new(),
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                let text = args.next().unwrap_or_default();
                options.window = Duration::from_secs(text.parse().unwrap());
            }
            "--frp" => options.frp = true,
            "--bench" => {}
            _ => options.only.push(arg),
        }
    }
    options
}

fn run(options: &Options) {
    let target = Arc::new(Target::start(options.frp));
    println!(
        "| attack | attempts/s | users' round trips/s | p50 ms | p99 ms | failed | a new client is in after | server MiB, most | server CPU s | log KiB/s |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    measure(
        &target,
        "nobody",
        None,
        options.window.min(Duration::from_secs(20)),
    );
    for attack in Attack::ALL {
        if options.only.is_empty()
            || options
                .only
                .iter()
                .any(|it| attack.name().contains(it.as_str()))
        {
            measure(&target, attack.name(), Some(attack), options.window);
        }
    }
    thread::sleep(Duration::from_secs(15));
    measure(&target, "nobody, after all", None, Duration::from_secs(10));
}

/// Lets an attack run, and prints what became of the users.
fn measure(target: &Arc<Target>, name: &str, attack: Option<Attack>, window: Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let attempts = Arc::new(AtomicU64::new(0));
    let attackers = attack.map_or_else(Vec::new, |it| it.start(target, &stop, &attempts));
    let users = Users::start(target);
    let (log, cpu, begun) = (target.log_len(), target.server_cpu(), Instant::now());
    // The attack is to be in full swing when somebody new comes.
    thread::sleep(window / 4);
    let newcomer = target.newcomer(attack.map_or("tcp", Attack::transport));
    let mut most: f64 = 0.0;
    while begun.elapsed() < window {
        most = most.max(target.server_memory());
        thread::sleep(LOOK);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let seen = users.stop();
    let (log, cpu) = (target.log_len() - log, target.server_cpu() - cpu);
    stop.store(true, Ordering::Relaxed);
    for attacker in attackers {
        let _ = attacker.join();
    }
    target.assert_alive();
    println!(
        "| {name} | {:.0} | {:.0} | {:.2} | {:.2} | {} | {} | {:.1} | {:.1} | {:.1} |",
        attempts.load(Ordering::Relaxed) as f64 / seconds,
        seen.round_trips as f64 / seconds,
        seen.quantile(0.5).as_secs_f64() * 1e3,
        seen.quantile(0.99).as_secs_f64() * 1e3,
        seen.failed,
        newcomer.map_or("never".to_owned(), |it| format!(
            "{:.2} s",
            it.as_secs_f64()
        )),
        most / MIB,
        cpu.as_secs_f64(),
        log as f64 / 1024.0 / seconds,
    );
}
