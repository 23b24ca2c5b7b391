//! What a service asks of the kernel beside the common limits.

use carrack_diag::Spanned;

use crate::node::{Node, Value};
use crate::project::{BlockLimit, BlockLimits, Tuning};
use crate::read::Reading;
use crate::{schema, units};

const MICROSECONDS: &str = "it is a number of microseconds";

impl Reading<'_> {
    pub(crate) fn tuning(&mut self, node: &Node, path: &str) -> Tuning {
        // The specification has the real-time ones as durations too.
        let time = |text: &str| text.parse().ok().or_else(|| units::duration_ns(text).map(|ns| ns / 1_000));
        let time_hint = "it is a number of microseconds, or a duration as `400ms`";
        let from_0_to_100 = |text: &str| text.parse().ok().filter(|number| *number <= 100);
        Tuning {
            annotations: self.plain_pairs(node, path, "annotations"),
            runtime: self.filled_of(node, path, "runtime"),
            cgroup_parent: self.filled_of(node, path, "cgroup_parent"),
            cpu_period_us: self.parsed_of(node, path, "cpu_period", MICROSECONDS).map(|time| time.value),
            cpu_quota_us: self.parsed_of(node, path, "cpu_quota", MICROSECONDS).map(|time| time.value),
            cpu_rt_period_us: self.converted_of(node, path, "cpu_rt_period", time_hint, time).map(|time| time.value),
            cpu_rt_runtime_us: self.converted_of(node, path, "cpu_rt_runtime", time_hint, time).map(|time| time.value),
            device_rules: self.list_of(node, path, "device_cgroup_rules", false),
            memory_swappiness: self
                .converted_of(node, path, "mem_swappiness", "it is a number from 0 to 100", from_0_to_100)
                .map(|number| number.value),
            oom_kill_disable: self.boolean_of(node, path, "oom_kill_disable").unwrap_or(false),
            block: node
                .get("blkio_config")
                .map(|block| self.block_limits(block, &format!("{path}.blkio_config")))
                .unwrap_or_default(),
        }
    }

    fn block_limits(&mut self, node: &Node, path: &str) -> BlockLimits {
        if node.is_null() || !self.mapping(node, path, schema::BLKIO) {
            return BlockLimits::default();
        }
        let number = |text: &str| text.parse().ok();
        BlockLimits {
            weight: self.parsed_of(node, path, "weight", "it is a number from 10 to 1000").map(|weight| weight.value),
            device_weights: self.block_list(node, path, "weight_device", "weight", &number),
            read_bps: self.block_list(node, path, "device_read_bps", "rate", &units::size_bytes),
            write_bps: self.block_list(node, path, "device_write_bps", "rate", &units::size_bytes),
            read_iops: self.block_list(node, path, "device_read_iops", "rate", &number),
            write_iops: self.block_list(node, path, "device_write_iops", "rate", &number),
        }
    }

    fn block_list(
        &mut self,
        node: &Node,
        path: &str,
        key: &str,
        value: &str,
        read: &dyn Fn(&str) -> Option<u64>,
    ) -> Vec<BlockLimit> {
        let Some(list) = node.get(key) else { return Vec::new() };
        let path = format!("{path}.{key}");
        let Value::Sequence(items) = &list.value else {
            if !list.is_null() {
                self.wrong_type(list, &path, "a list");
            }
            return Vec::new();
        };
        let mut limits = Vec::new();
        for item in items {
            if !self.mapping(item, &path, if value == "rate" { schema::BLKIO_RATE } else { schema::BLKIO_WEIGHT }) {
                continue;
            }
            let device = self.filled_of(item, &path, "path");
            let limit = self.converted_of(item, &path, value, "it is a number, of bytes with a unit as `10mb`", read);
            if let (Some(device), Some(limit)) = (device, limit) {
                limits.push(BlockLimit { device: device.value, value: limit.value });
            }
        }
        limits
    }

    fn plain_pairs(
        &mut self,
        node: &Node,
        path: &str,
        key: &str,
    ) -> std::collections::BTreeMap<String, Spanned<String>> {
        let pairs = self.pairs_of(node, path, key).into_iter();
        pairs.map(|(name, value)| (name, Spanned::new(value.value.unwrap_or_default(), value.span))).collect()
    }
}
