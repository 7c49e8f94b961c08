//! How the cluster is configured: one directory that holds everything, and the files in it.
//!
//! ```text
//! DIR/
//!   slurm.conf mpi.conf task-prolog munge.key hosts
//!   run/      sockets and pid files
//!   log/      one log a daemon
//!   state/    what slurmctld remembers
//!   local/    node-local storage, the same path on every node; it dies with the node
//!   shared/   what a parallel file system would hold: cases, run directories, logs of jobs
//! ```

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::mode::Mode;

/// How many nodes there are, and how many CPUs each says that it has.
pub const NODES: usize = 5;
pub const CPUS: usize = 2;

/// The name of the machine that users log in to and that the controller runs on.
pub const LOGIN: &str = "login";

const DIRECTORIES: [&str; 5] = ["run", "log", "state", "local", "shared"];

/// The name of a node, which are counted from 1.
pub fn name(node: usize) -> String {
    format!("node{node}")
}

/// The address of a node, or of the login machine, on the cluster's own network.
pub fn address(node: Option<usize>) -> String {
    format!("10.77.0.{}", node.unwrap_or(254))
}

/// The directory of a node's daemon, on node-local storage.
pub fn spool(directory: &Path, node: usize, mode: Mode) -> PathBuf {
    let local = directory.join("local");
    match mode {
        Mode::Network => local.join("spool"),
        Mode::Plain => local.join(name(node)).join("spool"),
    }
}

/// Writes everything that the daemons read.
pub fn write(directory: &Path, mode: Mode) -> std::io::Result<()> {
    let put = |name: &str, text: &str, permissions: u32| {
        let path = directory.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(permissions))
    };
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    for name in DIRECTORIES {
        fs::create_dir(directory.join(name))?;
    }
    let hosts = (1..=NODES).fold(format!("127.0.0.1 localhost\n{} {LOGIN}\n", address(None)), |mut text, node| {
        let _ = writeln!(text, "{} {}", address(Some(node)), name(node));
        text
    });
    put("hosts", &hosts, 0o644)?;
    let mut secret = [0; 64];
    fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
    put("munge.key", &secret.map(|byte| format!("{byte:02x}")).concat(), 0o600)?;
    // With Slurm's default fence every tenth start of Open MPI 4.1.4 on several nodes crashes in MPI_Init.
    put("mpi.conf", "PMIxCollFence=ring\n", 0o644)?;
    put("task-prolog", &task_prolog(directory, mode), 0o755)?;
    put("slurm.conf", &slurm_conf(directory, mode)?, 0o644)
}

/// What it prints goes into the environment of each task: nodes that are one machine must not share their memory.
fn task_prolog(directory: &Path, mode: Mode) -> String {
    let local = directory.join("local");
    match mode {
        Mode::Network => "#!/bin/sh\n".into(),
        Mode::Plain => format!(
            "#!/bin/sh\nmkdir -p {0}/$SLURMD_NODENAME\necho export OMPI_MCA_btl=self,tcp\necho export TMPDIR={0}/$SLURMD_NODENAME\n",
            local.display()
        ),
    }
}

fn slurm_conf(directory: &Path, mode: Mode) -> std::io::Result<String> {
    let this = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let user = nix::unistd::User::from_uid(nix::unistd::getuid())?.map_or("root".into(), |user| user.name);
    let (controller, at) = match mode {
        Mode::Network => (LOGIN.to_owned(), address(None)),
        Mode::Plain => (this.clone(), "127.0.0.1".into()),
    };
    // On a network of its own nobody else listens.
    let ports: Vec<u16> = match mode {
        Mode::Network => vec![6817; NODES + 1],
        Mode::Plain => free_ports(NODES + 1)?,
    };
    let per_node = match mode {
        Mode::Network => "",
        Mode::Plain => "/%n",
    };
    let mut text = format!(
        "ClusterName=throwaway
SlurmctldHost={controller}({at})
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={dir}/run/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/local{per_node}/spool
TmpFS={dir}/local{per_node}
TaskProlog={dir}/task-prolog
SlurmctldPidFile={dir}/run/slurmctld.pid
SlurmdPidFile={dir}/run/slurmd-%n.pid
SlurmctldLogFile={dir}/log/slurmctld.log
SlurmdLogFile={dir}/log/slurmd-%n.log
SlurmctldDebug=verbose
SlurmdDebug=verbose
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
JobRequeue=1
SlurmctldTimeout=30
SlurmdTimeout=5
MessageTimeout=5
TCPTimeout=2
KillWait=5
InactiveLimit=0
Waittime=0
MinJobAge=3600
PropagateResourceLimits=NONE
",
        port = ports[0],
        dir = directory.display(),
    );
    for (node, own_port) in (1..).zip(&ports[1..]) {
        let (host, at, port) = match mode {
            Mode::Network => (name(node), address(Some(node)), 6818),
            Mode::Plain => (this.clone(), "127.0.0.1".into(), *own_port),
        };
        let name = name(node);
        let _ = writeln!(
            text,
            "NodeName={name} NodeHostname={host} NodeAddr={at} Port={port} CPUs={CPUS} RealMemory=1000 State=UNKNOWN"
        );
    }
    let _ = writeln!(text, "PartitionName=batch Nodes=node[1-{NODES}] Default=YES MaxTime=INFINITE State=UP");
    Ok(text)
}

/// Ports that nobody listens on just now.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
