//! `fieldgate check`: every fault of a configuration at once; where there is none, what it would do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{EXIT_CONFIG, say};
use crate::adapter::ConnectionOptions;
use crate::adapter::plan::plan;
use crate::app::files;
use crate::config::{self, Config};
use crate::listener::Bind;

pub(super) fn check(file: &Path) -> ExitCode {
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    if let Some(code) = refuse_files(&loaded.config) {
        return code;
    }
    say(summary(&loaded.config));
    say(format_args!("{}: well", file.display()));
    ExitCode::SUCCESS
}

/// Tells what is wrong inside the files that the configuration names.
pub(super) fn refuse_files(config: &Config) -> Option<ExitCode> {
    let faults = files::faults(config);
    for fault in &faults {
        eprintln!("error: {fault}");
    }
    (!faults.is_empty()).then(|| ExitCode::from(EXIT_CONFIG))
}

/// What the configuration amounts to, a line each.
fn summary(config: &Config) -> String {
    let mut lines = vec![format!(
        "gateway {}, data in {}",
        config.gateway.id,
        absolute(&config.gateway.data_dir).display()
    )];
    for listener in &config.listeners {
        let tls = if listener.tls.is_some() {
            " by TLS"
        } else {
            ""
        };
        let Bind::Tcp(address) = listener.bind;
        lines.push(format!("listener {} on {address}{tls}", listener.name));
    }
    lines.extend(config.connections.iter().flat_map(plan_lines));
    for config::Bridge {
        options: bridge, ..
    } in &config.bridges
    {
        let addresses: Vec<String> = bridge
            .addresses
            .iter()
            .map(|a| format!("{}:{}", a.host, a.port))
            .collect();
        lines.push(format!(
            "bridge {} to {}",
            bridge.name,
            addresses.join(", then ")
        ));
        for route in &bridge.forward {
            lines.push(format!(
                "  forwards {} at QoS {} at most",
                route.filter, route.qos as u8
            ));
        }
    }
    lines.join("\n")
}

/// The requests of each device on a wire.
fn plan_lines(connection: &ConnectionOptions) -> Vec<String> {
    let mut lines = vec![format!(
        "connection {} to {}:{}",
        connection.name, connection.host, connection.port
    )];
    for device in &connection.devices {
        match plan(device) {
            Ok(groups) => lines.extend(groups.iter().map(|group| format!("  {group}"))),
            Err(error) => lines.push(format!("  {}: {error}", device.name)),
        }
    }
    lines
}

/// As it is from the root, so that a person sees which folder it will be.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
