//! Where the programs are.

use std::{
    collections::BTreeSet,
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
};

/// Which end of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The public end.
    Server,
    /// The end behind the NAT.
    Client,
}

/// The path of mgrok's program: `MGROKS_BIN` or `MGROKC_BIN` when set, otherwise what cargo
/// builds beside the running test, in the same profile.
///
/// # Panics
/// When it cannot be built.
pub fn binary(role: Role) -> PathBuf {
    let (variable, name) = match role {
        Role::Server => ("MGROKS_BIN", "mgroks"),
        Role::Client => ("MGROKC_BIN", "mgrokc"),
    };
    match env::var_os(variable) {
        Some(path) => path.into(),
        None => built().join(format!("{name}{}", env::consts::EXE_SUFFIX)),
    }
}

/// Builds both programs, once per test process, and says where they are.
///
/// Cargo tells a test only the programs of its own package; these belong to two others. After
/// `cargo test --workspace` they are there already, and cargo finds nothing to do within a second.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // <target>/<profile>/deps/<test>
        let test = env::current_exe().unwrap();
        let directory = test.ancestors().nth(2).unwrap();
        let profile = directory.file_name().unwrap().to_str().unwrap();
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        match profile {
            // Cargo builds a package's programs along with its integration tests. `cargo build` would make others: without
            // the features that the dev-dependencies turn on, so most of the tree would be compiled a second time.
            "debug" => cargo.args(["test", "--no-run", "--workspace", "--test=program"]),
            // What a bench measures is what users run.
            other => cargo.args([
                "build",
                "--package=mgroks",
                "--package=mgrokc",
                "--profile",
                other,
            ]),
        };
        let status = cargo
            .arg("--quiet")
            .arg("--target-dir")
            .arg(directory.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "mgroks and mgrokc do not build");
        directory.to_owned()
    })
}

/// frp's program, when the environment names it.
pub(crate) fn frp(role: Role) -> Option<PathBuf> {
    let variable = match role {
        Role::Server => "FRPS_BIN",
        Role::Client => "FRPC_BIN",
    };
    env::var_os(variable).map(PathBuf::from)
}

/// The program of an frp before 0.69, when the environment names it.
pub(crate) fn old_frp(role: Role) -> Option<PathBuf> {
    let variable = match role {
        Role::Server => "FRPS_OLD_BIN",
        Role::Client => "FRPC_OLD_BIN",
    };
    env::var_os(variable).map(PathBuf::from)
}

/// What a test needs and may not find. Each is a word that `MGROK_REQUIRE` may list, separated by commas: tests that do not find it fail
/// then, instead of being left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// `frp`: the programs that `FRPS_BIN` and `FRPC_BIN` name.
    Frp,
    /// `netns`: network namespaces, which take root, `ip` and `nft`.
    Namespaces,
    /// `programs`: servers and clients of others, such as sshd and nginx.
    Programs,
}

impl Need {
    fn word(self) -> &'static str {
        match self {
            Self::Frp => "frp",
            Self::Namespaces => "netns",
            Self::Programs => "programs",
        }
    }
}

/// Whether there is an frp to test against; says so, once, when there is none.
///
/// # Panics
/// When there is none and `MGROK_REQUIRE` lists it.
pub fn frp_is_here() -> bool {
    let here = frp(Role::Server).is_some() && frp(Role::Client).is_some();
    if !here {
        let why = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc";
        skipped(Need::Frp, "frp", why);
    }
    here
}

/// Says, once for each `what`, that tests with it are skipped, and why.
///
/// # Panics
/// When `MGROK_REQUIRE` lists the `need`.
pub fn skipped(need: Need, what: &'static str, why: &str) {
    static SAID: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let required = env::var("MGROK_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|it| it.trim() == need.word());
    assert!(
        !is_required,
        "MGROK_REQUIRE lists {}, but there is no {what}: {why}",
        need.word()
    );
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(what) {
        // Not `eprintln!`: its output is captured, and shown only when a test fails.
        let _ = writeln!(io::stderr(), "skipped: tests with {what}: {why}");
    }
}
