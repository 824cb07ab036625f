//! What Firecracker 1.12 accepts: its endpoints, their fields, and when each may be called.
//!
//! Written from `src/firecracker/swagger/firecracker.yaml` and, for what that leaves open (which
//! phase, which characters), `rpc_interface.rs` and `parsed_request.rs` of the same release. It is
//! stricter than the original in one thing: `null` is no value for an optional field.

use serde_json::{Map, Value};

/// When an endpoint may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Until the machine was started.
    BeforeStart,
    /// Once the machine was started.
    AfterStart,
    /// At any time.
    Always,
}

/// Whether a field has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    Optional,
}

/// What a field's value may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Any text.
    Text,
    /// Letters, digits and underscores; the same as in the path.
    Id,
    /// Six pairs of hexadecimal digits with colons.
    Mac,
    /// One of these words.
    Word(&'static [&'static str]),
    Flag,
    /// An integer from the first to the second.
    Integer(u64, u64),
    Object(&'static [Field]),
    List(&'static Shape),
    /// Not looked into.
    Anything,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Field(&'static str, Presence, Shape);

/// The body that an endpoint takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    None,
    Fields(&'static [Field]),
    Anything,
}

/// One method of one path. A segment in braces stands for an id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) phase: Phase,
    pub(crate) body: Body,
}

use Phase::{AfterStart, Always, BeforeStart};
use Presence::{Optional, Required};
use Shape::{Anything, Flag, Id, Integer, List, Mac, Object, Text, Word};

const COUNT: Shape = Integer(0, u64::MAX);
const U32: Shape = Integer(0, 0xffff_ffff);

const BUCKET: Shape = Object(&[
    Field("size", Required, COUNT),
    Field("one_time_burst", Optional, COUNT),
    Field("refill_time", Required, COUNT),
]);

const LIMITER: Shape =
    Object(&[Field("bandwidth", Optional, BUCKET), Field("ops", Optional, BUCKET)]);

const CPU_TEMPLATES: Shape = Word(&["C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None"]);
const HUGE_PAGES: Shape = Word(&["None", "2M"]);

const MACHINE_CONFIG: &[Field] = &[
    Field("vcpu_count", Required, Integer(1, 32)),
    Field("mem_size_mib", Required, Integer(1, u64::MAX)),
    Field("smt", Optional, Flag),
    Field("cpu_template", Optional, CPU_TEMPLATES),
    Field("track_dirty_pages", Optional, Flag),
    Field("huge_pages", Optional, HUGE_PAGES),
];

const MACHINE_CONFIG_CHANGE: &[Field] = &[
    Field("vcpu_count", Optional, Integer(1, 32)),
    Field("mem_size_mib", Optional, Integer(1, u64::MAX)),
    Field("smt", Optional, Flag),
    Field("cpu_template", Optional, CPU_TEMPLATES),
    Field("track_dirty_pages", Optional, Flag),
    Field("huge_pages", Optional, HUGE_PAGES),
];

const BOOT_SOURCE: &[Field] = &[
    Field("kernel_image_path", Required, Text),
    Field("initrd_path", Optional, Text),
    Field("boot_args", Optional, Text),
];

const DRIVE: &[Field] = &[
    Field("drive_id", Required, Id),
    Field("partuuid", Optional, Text),
    Field("is_root_device", Required, Flag),
    Field("cache_type", Optional, Word(&["Unsafe", "Writeback"])),
    Field("is_read_only", Optional, Flag),
    Field("path_on_host", Optional, Text),
    Field("rate_limiter", Optional, LIMITER),
    Field("io_engine", Optional, Word(&["Sync", "Async"])),
    Field("socket", Optional, Text),
];

const DRIVE_CHANGE: &[Field] = &[
    Field("drive_id", Required, Id),
    Field("path_on_host", Optional, Text),
    Field("rate_limiter", Optional, LIMITER),
];

const NETWORK_INTERFACE: &[Field] = &[
    Field("iface_id", Required, Id),
    Field("host_dev_name", Required, Text),
    Field("guest_mac", Optional, Mac),
    Field("rx_rate_limiter", Optional, LIMITER),
    Field("tx_rate_limiter", Optional, LIMITER),
];

const NETWORK_INTERFACE_CHANGE: &[Field] = &[
    Field("iface_id", Required, Id),
    Field("rx_rate_limiter", Optional, LIMITER),
    Field("tx_rate_limiter", Optional, LIMITER),
];

const LEVELS: Shape = Word(&["Error", "Warning", "Info", "Debug", "Trace", "Off"]);

const LOGGER: &[Field] = &[
    Field("level", Optional, LEVELS),
    Field("log_path", Optional, Text),
    Field("show_level", Optional, Flag),
    Field("show_log_origin", Optional, Flag),
    Field("module", Optional, Text),
];

const BALLOON: &[Field] = &[
    Field("amount_mib", Required, U32),
    Field("deflate_on_oom", Required, Flag),
    Field("stats_polling_interval_s", Optional, Integer(0, 0xffff)),
];

const SNAPSHOT_CREATE: &[Field] = &[
    Field("mem_file_path", Required, Text),
    Field("snapshot_path", Required, Text),
    Field("snapshot_type", Optional, Word(&["Full", "Diff"])),
];

const SNAPSHOT_LOAD: &[Field] = &[
    Field("snapshot_path", Required, Text),
    Field("mem_file_path", Optional, Text),
    Field(
        "mem_backend",
        Optional,
        Object(&[
            Field("backend_type", Required, Word(&["File", "Uffd"])),
            Field("backend_path", Required, Text),
        ]),
    ),
    Field("enable_diff_snapshots", Optional, Flag),
    Field("resume_vm", Optional, Flag),
    Field(
        "network_overrides",
        Optional,
        List(&Object(&[Field("iface_id", Required, Text), Field("host_dev_name", Required, Text)])),
    ),
];

const MMDS_CONFIG: &[Field] = &[
    Field("version", Optional, Word(&["V1", "V2"])),
    Field("network_interfaces", Required, List(&Text)),
    Field("ipv4_address", Optional, Text),
];

const VSOCK: &[Field] = &[
    Field("guest_cid", Required, Integer(3, 0xffff_ffff)),
    Field("uds_path", Required, Text),
    Field("vsock_id", Optional, Text),
];

const CPU_CONFIG: &[Field] = &[
    Field("cpuid_modifiers", Optional, Anything),
    Field("msr_modifiers", Optional, Anything),
    Field("kvm_capabilities", Optional, Anything),
];

const ACTION: &[Field] =
    &[Field("action_type", Required, Word(&["FlushMetrics", "InstanceStart", "SendCtrlAltDel"]))];

const fn get(path: &'static str, phase: Phase) -> Endpoint {
    Endpoint { method: "GET", path, phase, body: Body::None }
}

const fn put(path: &'static str, phase: Phase, fields: &'static [Field]) -> Endpoint {
    Endpoint { method: "PUT", path, phase, body: Body::Fields(fields) }
}

const fn patch(path: &'static str, phase: Phase, fields: &'static [Field]) -> Endpoint {
    Endpoint { method: "PATCH", path, phase, body: Body::Fields(fields) }
}

/// The whole API.
pub(crate) const ENDPOINTS: &[Endpoint] = &[
    get("/", Always),
    get("/version", Always),
    get("/machine-config", Always),
    get("/vm/config", Always),
    get("/balloon", Always),
    get("/balloon/statistics", AfterStart),
    get("/mmds", Always),
    // Each action has a phase of its own: see `action_phase`.
    put("/actions", Always, ACTION),
    put("/balloon", BeforeStart, BALLOON),
    put("/boot-source", BeforeStart, BOOT_SOURCE),
    put("/cpu-config", BeforeStart, CPU_CONFIG),
    put("/drives/{drive_id}", BeforeStart, DRIVE),
    put("/entropy", BeforeStart, &[Field("rate_limiter", Optional, LIMITER)]),
    put("/logger", BeforeStart, LOGGER),
    put("/machine-config", BeforeStart, MACHINE_CONFIG),
    put("/metrics", BeforeStart, &[Field("metrics_path", Required, Text)]),
    Endpoint { method: "PUT", path: "/mmds", phase: Always, body: Body::Anything },
    put("/mmds/config", BeforeStart, MMDS_CONFIG),
    put("/network-interfaces/{iface_id}", BeforeStart, NETWORK_INTERFACE),
    put("/snapshot/create", AfterStart, SNAPSHOT_CREATE),
    put("/snapshot/load", BeforeStart, SNAPSHOT_LOAD),
    put("/vsock", BeforeStart, VSOCK),
    patch("/balloon", AfterStart, &[Field("amount_mib", Required, U32)]),
    patch(
        "/balloon/statistics",
        AfterStart,
        &[Field("stats_polling_interval_s", Required, Integer(0, 0xffff))],
    ),
    patch("/drives/{drive_id}", AfterStart, DRIVE_CHANGE),
    patch("/machine-config", BeforeStart, MACHINE_CONFIG_CHANGE),
    Endpoint { method: "PATCH", path: "/mmds", phase: Always, body: Body::Anything },
    patch("/network-interfaces/{iface_id}", AfterStart, NETWORK_INTERFACE_CHANGE),
    patch("/vm", AfterStart, &[Field("state", Required, Word(&["Paused", "Resumed"]))]),
];

/// When an action may be asked for.
fn action_phase(action: &str) -> Phase {
    if action == "InstanceStart" { BeforeStart } else { AfterStart }
}

/// Checks one request. `now` is [`Phase::BeforeStart`] or [`Phase::AfterStart`]. The error is the
/// text for `fault_message`.
pub(crate) fn check(method: &str, path: &str, body: &[u8], now: Phase) -> Result<(), String> {
    let (endpoint, id) = ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.method == method)
        .find_map(|endpoint| Some((endpoint, match_path(endpoint.path, path)?)))
        .ok_or_else(|| format!("Invalid request method and/or path: {method} {path}."))?;
    let mut phase = endpoint.phase;
    match endpoint.body {
        Body::None if body.is_empty() => {}
        Body::None => return Err(format!("{method} request cannot have a body.")),
        _ if body.is_empty() => return Err(format!("Empty {method} request.")),
        Body::Anything => drop(parse(body)?),
        Body::Fields(fields) => {
            let value = parse(body)?;
            check_object(fields, &value, id).map_err(|what| format!("Bad body: {what}."))?;
            if endpoint.path == "/actions" {
                phase = action_phase(value["action_type"].as_str().unwrap_or_default());
            }
        }
    }
    check_phase(phase, now)
}

fn check_phase(allowed: Phase, now: Phase) -> Result<(), String> {
    match allowed {
        BeforeStart if now == AfterStart => {
            Err("The requested operation is not supported after starting the microVM.".to_owned())
        }
        AfterStart if now == BeforeStart => {
            Err("The requested operation is not supported before starting the microVM.".to_owned())
        }
        _ => Ok(()),
    }
}

/// The id in the path (empty where it has none), if the path fits the pattern.
fn match_path<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    match pattern.split_once('{') {
        None => (pattern == path).then_some(""),
        Some((prefix, _)) => path.strip_prefix(prefix).filter(|id| !id.contains('/')),
    }
}

fn parse(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|error| format!("Bad JSON: {error}."))
}

fn check_object(fields: &[Field], value: &Value, id: &str) -> Result<(), String> {
    let object = value.as_object().ok_or_else(|| format!("`{value}` is not an object"))?;
    for name in object.keys() {
        if !fields.iter().any(|Field(known, ..)| known == name) {
            return Err(format!("unknown field `{name}`"));
        }
    }
    fields.iter().try_for_each(|field| check_field(*field, object, id))
}

fn check_field(field: Field, object: &Map<String, Value>, id: &str) -> Result<(), String> {
    let Field(name, presence, shape) = field;
    match (object.get(name), presence) {
        (Some(value), _) => {
            check_shape(shape, value, id).map_err(|what| format!("`{name}`: {what}"))
        }
        (None, Optional) => Ok(()),
        (None, Required) => Err(format!("missing field `{name}`")),
    }
}

fn check_shape(shape: Shape, value: &Value, id: &str) -> Result<(), String> {
    let is_right = match shape {
        Text => value.is_string(),
        Id => value.as_str() == Some(id) && is_id(id),
        Mac => value.as_str().is_some_and(is_mac),
        Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        Flag => value.is_boolean(),
        Integer(least, most) => value.as_u64().is_some_and(|n| (least..=most).contains(&n)),
        Object(fields) => return check_object(fields, value, id),
        List(each) => {
            let list = value.as_array().ok_or_else(|| format!("`{value}` is not a list"))?;
            return list.iter().try_for_each(|item| check_shape(*each, item, id));
        }
        Anything => true,
    };
    if is_right { Ok(()) } else { Err(format!("`{value}` is not {shape:?}")) }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c == '_' || c.is_alphanumeric())
}

fn is_mac(text: &str) -> bool {
    let is_pair = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(is_pair)
}

/// Requests that are right before the start, one for each endpoint that can be called then, and
/// the same with something wrong: method, path, body, and whether it is to be accepted.
pub(crate) const SAMPLES: &[(&str, &str, &str, bool)] = &[
    ("GET", "/", "", true),
    ("GET", "/", "{}", false),
    ("GET", "/version", "", true),
    ("GET", "/machine-config", "", true),
    ("GET", "/vm/config", "", true),
    ("GET", "/nowhere", "", false),
    ("PUT", "/machine-config", r#"{"vcpu_count":3,"mem_size_mib":512}"#, true),
    ("PUT", "/machine-config", r#"{"vcpu_count":3,"mem_size_mib":512,"smt":false}"#, true),
    ("PUT", "/machine-config", r#"{"vcpu_count":0,"mem_size_mib":512}"#, false),
    ("PUT", "/machine-config", r#"{"vcpu_count":33,"mem_size_mib":512}"#, false),
    ("PUT", "/machine-config", r#"{"vcpu_count":1,"mem_size_mib":0}"#, false),
    ("PUT", "/machine-config", r#"{"vcpu_count":1}"#, false),
    ("PUT", "/machine-config", r#"{"vcpu_count":1,"mem_size_mib":512,"cores":1}"#, false),
    ("PUT", "/machine-config", r#"{"vcpu_count":"1","mem_size_mib":512}"#, false),
    ("PUT", "/machine-config", "", false),
    ("PUT", "/machine-config", "{", false),
    ("PATCH", "/machine-config", r#"{"vcpu_count":2}"#, true),
    ("PATCH", "/machine-config", r#"{"vcpu_count":-2}"#, false),
    ("PUT", "/boot-source", r#"{"initrd_path":"/dev/null"}"#, false),
    ("PUT", "/boot-source", r#"{"kernel_image_path":"/dev/null","args":""}"#, false),
    ("PUT", "/boot-source", r#"{"kernel_image_path":"/dev/null","boot_args":"ro"}"#, true),
    (
        "PUT",
        "/drives/root",
        r#"{"drive_id":"root","is_root_device":false,"path_on_host":"/dev/null","is_read_only":true,"cache_type":"Writeback","io_engine":"Sync"}"#,
        true,
    ),
    ("PUT", "/drives/root", r#"{"drive_id":"work","is_root_device":false}"#, false),
    ("PUT", "/drives/ro-ot", r#"{"drive_id":"ro-ot","is_root_device":false}"#, false),
    ("PUT", "/drives/root", r#"{"drive_id":"root"}"#, false),
    (
        "PUT",
        "/drives/root",
        r#"{"drive_id":"root","is_root_device":false,"path_on_host":"/dev/null","is_read_only":true,"cache_type":"writeback"}"#,
        false,
    ),
    ("PUT", "/network-interfaces/eth0", r#"{"iface_id":"eth0"}"#, false),
    (
        "PUT",
        "/network-interfaces/eth0",
        r#"{"iface_id":"eth0","host_dev_name":"lo","guest_mac":"06:00"}"#,
        false,
    ),
    ("PUT", "/entropy", "{}", true),
    ("PUT", "/entropy", r#"{"rate_limiter":{"bandwidth":{"size":1,"refill_time":1}}}"#, true),
    ("PUT", "/entropy", r#"{"rate_limiter":{"bandwidth":{"size":1}}}"#, false),
    ("PUT", "/entropy", r#"{"rate":1}"#, false),
    ("PUT", "/logger", r#"{"level":"Info","show_level":true}"#, true),
    ("PUT", "/logger", r#"{"level":"Loud"}"#, false),
    ("PUT", "/balloon", r#"{"amount_mib":0,"deflate_on_oom":true}"#, true),
    ("PUT", "/balloon", r#"{"amount_mib":0}"#, false),
    ("PUT", "/mmds/config", r#"{"network_interfaces":"eth0"}"#, false),
    ("PUT", "/vsock", r#"{"guest_cid":2,"uds_path":"/nowhere/v.sock"}"#, false),
    ("PUT", "/vsock", r#"{"uds_path":"/nowhere/v.sock"}"#, false),
    ("PUT", "/actions", r#"{"action_type":"SendCtrlAltDel"}"#, false),
    ("PUT", "/actions", r#"{"action_type":"FlushMetrics"}"#, false),
    ("PUT", "/actions", r#"{"action_type":"Explode"}"#, false),
    ("PUT", "/snapshot/create", r#"{"mem_file_path":"/m","snapshot_path":"/s"}"#, false),
    ("PATCH", "/vm", r#"{"state":"Paused"}"#, false),
    ("PATCH", "/drives/root", r#"{"drive_id":"root"}"#, false),
    ("PATCH", "/balloon", r#"{"amount_mib":1}"#, false),
    ("DELETE", "/drives/root", "", false),
];
