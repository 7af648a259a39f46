//! One proxy or visitor that flags describe, without a file.

use std::process::ExitCode;

use mgrok_config::{ClientConfig, LoadOptions, Settings, load_client_from_settings};
use mgrok_daemon::{FlagTable, FlagValues, say_warnings};

use crate::flags::ClientFlags;
use crate::run;

/// Runs a proxy of this kind.
///
/// # Errors
/// What is wrong with a flag, or why the client has ended.
pub(crate) fn proxy<T: FlagTable>(
    kind: &'static str,
    client: &FlagValues<ClientFlags>,
    proxy: &FlagValues<T>,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::default();
    client.add_to(&mut settings);
    settings.set("proxies[0].type", kind, kind);
    proxy.add_to(&mut settings);
    run::without_file(load(&settings, options)?)
}

/// Runs a visitor of this kind.
///
/// # Errors
/// As [`proxy`].
pub(crate) fn visitor<T: FlagTable>(
    kind: &'static str,
    client: &FlagValues<ClientFlags>,
    visitor: &FlagValues<T>,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::default();
    client.add_to(&mut settings);
    settings.set("visitors[0].type", kind, kind);
    visitor.add_to(&mut settings);
    run::without_file(load(&settings, options)?)
}

/// Makes the configuration, and prints the warnings.
pub(crate) fn load(settings: &Settings, options: LoadOptions) -> anyhow::Result<ClientConfig> {
    let loaded = load_client_from_settings(settings, options)?;
    say_warnings(&loaded.warnings);
    Ok(loaded.config)
}
