//! What is made of the command line's description: completions for shells, and manual pages.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum as _};
use clap_complete::Shell;

/// What follows `completion`.
#[derive(Args, Debug)]
pub struct CompletionArguments {
    /// The shell to print a script for
    #[arg(required_unless_present = "dir")]
    shell: Option<Shell>,

    /// Write the scripts for all shells into this directory instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    // frp: has it, and its scripts are the longer ones without
    #[arg(long, hide = true)]
    no_descriptions: bool,
}

/// What follows `man`.
#[derive(Args, Debug)]
pub struct ManArguments {
    /// Write the pages of all commands into this directory instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn completion(
    mut command: clap::Command,
    arguments: &CompletionArguments,
) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    if let Some(dir) = &arguments.dir {
        make_directory(dir)?;
        for shell in Shell::value_variants() {
            clap_complete::generate_to(*shell, &mut command, &name, dir)
                .with_context(|| format!("cannot write into {}", dir.display()))?;
        }
    } else if let Some(shell) = arguments.shell {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, name, &mut script);
        print(&script);
    }
    Ok(())
}

pub(crate) fn man(command: clap::Command, arguments: &ManArguments) -> anyhow::Result<()> {
    let Some(dir) = &arguments.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        print(&page);
        return Ok(());
    };
    make_directory(dir)?;
    clap_mangen::generate_to(command, dir)
        .with_context(|| format!("cannot write into {}", dir.display()))
}

fn make_directory(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

fn print(bytes: &[u8]) {
    // A pager that was left early wants no more.
    let _ = io::stdout().write_all(bytes);
}
