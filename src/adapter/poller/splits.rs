//! What the actor knows over restarts of the requests that its devices refuse.

use super::super::splits_file::Split;
use super::Poller;
use crate::clock;

impl Poller {
    /// What devices were found to refuse before a restart is not asked of them again.
    pub(super) async fn recall(&mut self) {
        for split in self.splits.read(clock::wall()).await {
            let devices = self.options.devices.iter().zip(&mut self.cycles);
            let groups = devices
                .filter(|(device, _)| device.name == split.device)
                .flat_map(|(device, cycles)| device.groups.iter().zip(cycles));
            for (_, cycle) in groups.filter(|(group, _)| group.name == split.group) {
                cycle.requests().recall(&split.cut);
            }
        }
    }

    /// Keeps what is known now for the next start.
    pub(super) fn remember(&mut self) {
        let Self {
            options, cycles, ..
        } = self;
        let devices = options.devices.iter().zip(cycles);
        let groups = devices.flat_map(|(device, cycles)| {
            let groups = device.groups.iter().zip(cycles);
            groups.map(move |(group, cycle)| (device, group, cycle))
        });
        let splits = || {
            let splits = groups.flat_map(|(device, group, cycle)| {
                let cuts = cycle.requests().cuts();
                cuts.map(|cut| Split {
                    device: device.name.clone(),
                    group: group.name.clone(),
                    cut,
                })
            });
            splits.collect()
        };
        if self.splits.keep(splits, clock::now(), clock::wall()) {
            self.is_cut_anew = false;
        }
    }
}
