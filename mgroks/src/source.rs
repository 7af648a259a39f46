//! Where the server's configuration comes from: a file, flags, or nothing at all.

use std::path::{Path, PathBuf};

use anyhow::bail;
use mgrok_config::{
    LoadError, LoadOptions, Loaded, ServerConfig, Settings, Strictness, load_server,
    load_server_from_settings,
};

use crate::arguments::{
    DASHBOARD_ADDR, DASHBOARD_PASSWORD, DASHBOARD_PORT, DASHBOARD_USER, PROXY_BIND_ADDR,
    SettingArguments,
};

/// What a server listens on that nobody has said anything to.
const LOOPBACK: &str = "127.0.0.1";

/// Every address.
// frp: the default of its flags
const ANY: &str = "0.0.0.0";

/// The settings of the program's log do not open anything.
const LOG: &str = "log.";

/// Where the configuration comes from, and how it is loaded.
#[derive(Debug)]
pub(crate) struct Source {
    file: Option<PathBuf>,
    settings: Settings,
    options: LoadOptions,
    /// Whether nobody has said where to listen or whom to let in.
    is_nothing: bool,
    /// What whoever typed the flags should know.
    warnings: Vec<String>,
}

impl Source {
    /// # Errors
    /// If a flag needs another.
    pub(crate) fn new(
        file: Option<PathBuf>,
        arguments: &SettingArguments,
        options: LoadOptions,
    ) -> anyhow::Result<Self> {
        // frp: an empty name is no file
        let file = file.filter(|it| !it.as_os_str().is_empty());
        let mut warnings = Vec::new();
        let mut settings = Settings::default();
        let mut is_nothing = false;
        if file.is_some() {
            // frp: silent
            warnings.extend(unused(arguments));
        } else {
            arguments.flags.add_to(&mut settings);
            is_nothing = arguments.flags.given().all(|(_, key)| key.starts_with(LOG));
            complete(&mut settings, arguments, is_nothing, &mut warnings)?;
        }
        Ok(Self {
            file,
            settings,
            options,
            is_nothing: is_nothing && !arguments.insecure,
            warnings,
        })
    }

    /// The file; `None` if there is none.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether there is neither a file nor a flag that says where to listen or whom to let in.
    pub(crate) fn is_nothing(&self) -> bool {
        self.is_nothing
    }

    /// Reads it, and has the warnings about flags before those of the loader. `strictness` is for this time alone.
    pub(crate) fn load(
        &self,
        strictness: Option<Strictness>,
    ) -> Result<Loaded<ServerConfig>, LoadError> {
        let options = match strictness {
            Some(strictness) => self.options.with_strictness(strictness),
            None => self.options,
        };
        let mut loaded = match &self.file {
            Some(file) => load_server(file, options)?,
            None => load_server_from_settings(&self.settings, options)?,
        };
        loaded.warnings.splice(..0, self.warnings.iter().cloned());
        Ok(loaded)
    }
}

/// A warning for each flag that does nothing beside a file.
fn unused(arguments: &SettingArguments) -> Vec<String> {
    let given = arguments.flags.given();
    let mut unused: Vec<_> = given.map(|(flag, _)| flag.as_written()).collect();
    if arguments.dashboard_tls_mode.is_some() {
        unused.push("--dashboard-tls-mode".to_owned());
    }
    if arguments.insecure {
        unused.push("--insecure".to_owned());
    }
    let warnings = unused
        .into_iter()
        .map(|flag| format!("{flag} does nothing beside --config: the file says all"));
    warnings.collect()
}

/// Adds what follows from flags that were not given.
fn complete(
    settings: &mut Settings,
    arguments: &SettingArguments,
    is_nothing: bool,
    warnings: &mut Vec<String>,
) -> anyhow::Result<()> {
    if is_nothing && !arguments.insecure {
        settings.set("bindAddr", LOOPBACK, "the default");
    }
    // frp: does not follow --bind-addr, as it does in a file
    if !settings.has(PROXY_BIND_ADDR) && !is_nothing {
        settings.set(PROXY_BIND_ADDR, ANY, "the default of --proxy-bind-addr");
    }
    if settings.has(DASHBOARD_PORT) {
        // frp: not as in a file
        for (key, value, flag) in [
            (DASHBOARD_ADDR, ANY, "--dashboard-addr"),
            (DASHBOARD_USER, "admin", "--dashboard-user"),
            (DASHBOARD_PASSWORD, "admin", "--dashboard-pwd"),
        ] {
            if settings.has(key) {
                continue;
            }
            settings.set(key, value, format!("the default of {flag}"));
            if key == DASHBOARD_PASSWORD {
                warnings.push(
                    "--dashboard-pwd is not given, so that whoever tries the default, admin, is let in to the admin port"
                        .to_owned(),
                );
            }
        }
    }
    if arguments.dashboard_tls_mode == Some(true) && !settings.has("webServer.tls") {
        bail!("--dashboard-tls-mode needs --dashboard-tls-cert-file and --dashboard-tls-key-file");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use clap::Parser as _;

    fn source(words: &[&str]) -> anyhow::Result<Source> {
        let words = ["mgroks"].iter().chain(words);
        let arguments = Arguments::try_parse_from(words).unwrap();
        let options = LoadOptions::new(Strictness::Strict);
        Source::new(arguments.common.config(), &arguments.settings, options)
    }

    #[track_caller]
    fn config(words: &[&str]) -> ServerConfig {
        source(words).unwrap().load(None).unwrap().config
    }

    #[test]
    fn flags_are_the_settings() {
        let got = config(&[
            "-p",
            "7001",
            "-t",
            "secret",
            "--vhost-http-port=8080",
            "--subdomain-host",
            "example.com",
            "--allow-ports",
            "1000-2000,3000",
            "--max-ports-per-client",
            "3",
            "--tls-only",
            "--kcp-bind-port",
            "7002",
            "--quic-bind-port",
            "7003",
            "--log-level",
            "debug",
            "--vhost-https-port",
            "8443",
            "--vhost-http-timeout",
            "5",
            "--log-max-days",
            "1",
            "--disable-log-color",
            "--bind-addr",
            "127.0.0.1",
        ]);
        assert_eq!(got.bind_port, 7001);
        assert_eq!(got.auth.token.expose(), "secret");
        assert_eq!(got.vhost.http_port, Some(8080));
        assert_eq!(got.vhost.https_port, Some(8443));
        assert_eq!(got.vhost.http_timeout.as_secs(), 5);
        assert_eq!(got.vhost.sub_domain_host, "example.com");
        assert!(got.allow_ports.allows(1500) && got.allow_ports.allows(3000));
        assert!(!got.allow_ports.allows(2500));
        assert_eq!(got.max_ports_per_client.map(|it| it.get()), Some(3));
        assert!(got.transport.tls.force);
        assert_eq!(
            (got.kcp_bind_port, got.quic_bind_port),
            (Some(7002), Some(7003))
        );
        assert_eq!(got.log.level.as_str(), "debug");
        assert!(!got.log.color);
        assert_eq!(got.bind_addr, "127.0.0.1");
        // frp: users are not kept to the address of clients
        assert_eq!(got.proxy_bind_addr, "0.0.0.0");
    }

    #[test]
    fn without_file_and_flags_only_this_host_gets_in() {
        for words in [&[][..], &["--log-level", "debug"]] {
            let source = source(words).unwrap();
            assert!(source.is_nothing());
            let got = source.load(None).unwrap().config;
            assert_eq!(
                (&*got.bind_addr, &*got.proxy_bind_addr),
                ("127.0.0.1", "127.0.0.1")
            );
        }
        for words in [&["--insecure"][..], &["-p", "7001"], &["-t", "secret"]] {
            assert!(!source(words).unwrap().is_nothing());
            let got = config(words);
            assert_eq!(
                (&*got.bind_addr, &*got.proxy_bind_addr),
                ("0.0.0.0", "0.0.0.0")
            );
        }
    }

    #[test]
    fn the_admin_port_of_flags_has_frps_defaults_and_a_warning() {
        let loaded = source(&["--dashboard-port", "7500"])
            .unwrap()
            .load(None)
            .unwrap();
        let admin = loaded.config.web_server.unwrap();
        assert_eq!((&*admin.addr, &*admin.user), ("0.0.0.0", "admin"));
        assert_eq!(admin.password.expose(), "admin");
        assert!(
            loaded.warnings[0].contains("--dashboard-pwd"),
            "{:?}",
            loaded.warnings
        );
        let words = [
            "--dashboard-port=7500",
            "--dashboard-addr=127.0.0.1",
            "--dashboard-pwd=x",
        ];
        let loaded = source(&words).unwrap().load(None).unwrap();
        assert_eq!(loaded.warnings, Vec::<String>::new());
        assert_eq!(loaded.config.web_server.unwrap().password.expose(), "x");
    }

    #[test]
    fn tls_of_the_admin_port_is_not_passed_over() {
        for words in [
            &["--dashboard-port=7500", "--dashboard-tls-mode"][..],
            &["--dashboard-port=7500", "--dashboard-tls-mode", "true"],
            &["--dashboard-port=7500", "--dashboard-tls-mode=true"],
        ] {
            let error = source(words).unwrap_err().to_string();
            assert!(error.contains("--dashboard-tls-cert-file"), "{error}");
        }
        let words = ["--dashboard-port=7500", "--dashboard-tls-mode=false"];
        source(&words).unwrap().load(None).unwrap();
    }

    #[test]
    fn a_mistake_is_told_of_the_flag() {
        let error = source(&["-p", "70000"]).unwrap().load(None).unwrap_err();
        let expect = "--bind-port: port number 70000 must be in the range 0..65535";
        assert_eq!(error.to_string(), expect);
    }

    #[test]
    fn flags_beside_a_file_are_named() {
        let words = [
            "-c",
            "server.toml",
            "-p",
            "7001",
            "--tls-only",
            "--insecure",
        ];
        let warnings = source(&words).unwrap().warnings;
        let flags = ["--bind-port", "--tls-only", "--insecure"];
        assert_eq!(warnings.len(), flags.len(), "{warnings:?}");
        for (warning, flag) in warnings.iter().zip(flags) {
            assert!(warning.starts_with(flag), "{warning}");
        }
    }
}
