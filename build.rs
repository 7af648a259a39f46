//! Tells the tests which peers the environment names, so that tests which need an absent one count as ignored and not as passed.
//! What `MGROK_REQUIRE` lists is taken to be there: its tests run, and fail without it.

use std::env;

fn main() {
    let required = env::var("MGROK_REQUIRE").unwrap_or_default();
    println!("cargo::rerun-if-env-changed=MGROK_REQUIRE");
    for (name, word, variables) in [
        ("frp", "frp", ["FRPS_BIN", "FRPC_BIN"]),
        ("old_frp", "old-frp", ["FRPS_OLD_BIN", "FRPC_OLD_BIN"]),
    ] {
        println!("cargo::rustc-check-cfg=cfg({name})");
        for variable in variables {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        let is_here = variables.iter().all(|it| env::var_os(it).is_some());
        if is_here || required.split(',').any(|it| it.trim() == word) {
            println!("cargo::rustc-cfg={name}");
        }
    }
}
