//! From a block's sections and the file's settings to the text of `nginx.conf`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::{Block, Settings, Value};
use crate::run::binary::Facts;
use crate::run::conditions::Version;
use crate::run::config::{Config, Http2};
use crate::run::expand::{ExpandError, Expander};
use crate::run::perl_side::Spec;
use crate::run::pressure::Mode;
use crate::run::protocol::{Protocol, protocol};

/// The sections that the text of the configuration is taken from.
pub(crate) const CONFIGURATION_SECTIONS: [&str; 4] = ["main_config", "http_config", "config", "post_main_config"];

/// What the configuration is made from.
pub struct Configuration<'a> {
    /// The block.
    pub block: &'a Block,
    /// The file's settings.
    pub settings: &'a Settings,
    /// The environment.
    pub variables: &'a BTreeMap<String, Vec<u8>>,
    /// What the server told about itself.
    pub facts: &'a Facts,
    /// The server root.
    pub root: &'a Path,
    /// The file, whose flavour may add to `http_config`.
    pub spec: &'a dyn Spec,
    /// The version told by the second server, in the mode that reloads.
    pub reload_version: Option<&'a str>,
    /// The mode that only puts load on the server: it logs little then.
    pub load: Option<Mode>,
}

/// The text of `nginx.conf`.
pub fn configure(inputs: &Configuration<'_>, expander: &mut Expander<'_>) -> Result<Vec<u8>, ExpandError> {
    let Configuration { block, settings, .. } = inputs;
    let text = |name: &str| block.value(name).map(|value| value.to_bytes().to_vec());
    let true_text = |name: &str| block.value(name).filter(Value::is_true).map(|value| value.to_bytes().to_vec());
    // In the original's order: it decides which section names a random port first.
    let config = expander.expand(&text("config").unwrap_or_default())?;
    let http_config = expander.expand(&text("http_config").unwrap_or_default())?;
    let http_config = inputs.spec.filter_http_config(http_config).map_err(ExpandError::Filter)?;
    let main_config = expander.expand(&text("main_config").unwrap_or_default())?;
    let post_main_config = expander.expand(&text("post_main_config").unwrap_or_default())?;
    let default_log = {
        use std::os::unix::ffi::OsStrExt as _;
        inputs.root.join("logs/error.log").as_os_str().as_bytes().to_vec()
    };
    let error_log = expander.expand(&true_text("error_log_file").unwrap_or(default_log))?;
    let variable = |name: &str| {
        let value = inputs.variables.get(name).filter(|value| !value.is_empty());
        value.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let modules = variable("TEST_NGINX_LOAD_MODULES").unwrap_or_default();
    let load_modules: Vec<String> = modules.split_whitespace().map(str::to_owned).collect();
    let user =
        variable("TEST_NGINX_WORKER_USER").or_else(|| nix::unistd::geteuid().is_root().then(|| "root".to_owned()));
    let wants_master = inputs.reload_version.is_some() || settings.master_process.unwrap_or(false);
    // One process only: its memory is what counts.
    let master_process = wants_master && !matches!(inputs.load, Some(Mode::CheckLeak { .. }));
    Ok(Config {
        workers: &settings.workers,
        worker_connections: &settings.worker_connections,
        master_process,
        error_log: &error_log,
        log_level: &if inputs.load.is_some() {
            b"warn".to_vec()
        } else {
            true_text("log_level").unwrap_or_else(|| settings.log_level.clone())
        },
        access_log: inputs.load.is_none(),
        environment: &settings.env_to_nginx,
        root: inputs.root,
        load_modules: &load_modules,
        main_config: &main_config,
        http_config: &http_config,
        post_main_config: &post_main_config,
        port: settings.server_port,
        http2: http2(inputs),
        reuse_port: variable("TEST_NGINX_REUSE_PORT").is_some_and(|value| value != "0"),
        server_name: &text("server_name").unwrap_or_else(|| settings.server_name.clone()),
        preamble: &settings.config_preamble,
        config: &config,
        root_location: settings.root_location,
        event_type: variable("TEST_NGINX_EVENT_TYPE").as_deref(),
        reload_version: inputs.reload_version,
        postpone_output: variable("TEST_NGINX_POSTPONE_OUTPUT").as_deref(),
        user: user.as_deref(),
        without: &inputs.facts.without,
    }
    .render())
}

/// How HTTP/2 is switched on, if the block wants it. A block that can't have it fails before its configuration counts.
fn http2(inputs: &Configuration<'_>) -> Http2 {
    if protocol(inputs.block, inputs.variables) != Ok(Protocol::Http2) {
        Http2::Off
    } else if inputs.facts.version >= Some(Version::new(1, 19, 9)) {
        Http2::Directive
    } else {
        Http2::ListenParameter
    }
}
