//! Limits of block devices as the files of both versions take them (cgroup-v1/blkio-controller.rst, cgroup-v2.rst).

use std::path::Path;

use carrack_diag::Result;
use carrack_oci::runtime::{BlockIo, ThrottleDevice};

use super::limits::require;
use super::write;

pub(super) fn write_v1(folder: &Path, block: &BlockIo) -> Result<()> {
    for (devices, file) in [
        (&block.throttle_read_bps_device, "blkio.throttle.read_bps_device"),
        (&block.throttle_write_bps_device, "blkio.throttle.write_bps_device"),
        (&block.throttle_read_iops_device, "blkio.throttle.read_iops_device"),
        (&block.throttle_write_iops_device, "blkio.throttle.write_iops_device"),
    ] {
        for device in devices {
            require(folder, file, "limit a block device")?;
            write(folder, file, &format!("{}:{} {}", device.major, device.minor, device.rate))?;
        }
    }
    let known = ["blkio.bfq.weight", "blkio.weight"].into_iter().find(|file| folder.join(file).exists());
    write_weights(folder, block, known.unwrap_or("blkio.bfq.weight"), &|weight| weight)
}

pub(super) fn write_v2(folder: &Path, block: &BlockIo) -> Result<()> {
    let limits = [
        (&block.throttle_read_bps_device, "rbps"),
        (&block.throttle_write_bps_device, "wbps"),
        (&block.throttle_read_iops_device, "riops"),
        (&block.throttle_write_iops_device, "wiops"),
    ];
    for (devices, key) in limits {
        for ThrottleDevice { major, minor, rate } in devices {
            require(folder, "io.max", "limit a block device")?;
            // 0 is none, as in v1.
            let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
            write(folder, "io.max", &format!("{major}:{minor} {key}={rate}"))?;
        }
    }
    if folder.join("io.bfq.weight").exists() {
        return write_weights(folder, block, "io.bfq.weight", &|weight| weight);
    }
    // 10…1000 onto 1…10000, as runc and crun have it.
    write_weights(folder, block, "io.weight", &|weight| 1 + (weight.max(10) - 10) * 9_999 / 990)
}

fn write_weights(folder: &Path, block: &BlockIo, file: &str, converted: &dyn Fn(u64) -> u64) -> Result<()> {
    if block.weight.is_none() && block.weight_device.is_empty() {
        return Ok(());
    }
    require(folder, file, "weigh block devices")?;
    if let Some(weight) = block.weight {
        write(folder, file, &converted(weight.into()).to_string())?;
    }
    for device in &block.weight_device {
        let per_device = if file == "blkio.weight" { "blkio.weight_device" } else { file };
        require(folder, per_device, "weigh a block device")?;
        write(folder, per_device, &format!("{}:{} {}", device.major, device.minor, converted(device.weight.into())))?;
    }
    Ok(())
}
