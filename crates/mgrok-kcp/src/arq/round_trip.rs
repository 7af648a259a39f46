//! How long a segment and its acknowledgement take, and how long to wait before it is sent again.

use super::FLUSH_INTERVAL;

/// Bounds of the wait before a segment is sent again, in ms.
// kcp-go: kcp.go#IKCP_RTO_NDL, IKCP_RTO_MAX
const MIN_RTO: u32 = 30;
pub(super) const MAX_RTO: u32 = 60_000;

/// The same wait before anything is known of the round trip.
pub(super) const FIRST_RTO: u32 = 200;

#[derive(Debug)]
pub(super) struct RoundTrip {
    /// Smoothed time and its variation in ms, once there is a sample.
    pub(super) smoothed: Option<(u32, u32)>,
    pub(super) rto: u32,
}

impl RoundTrip {
    /// As RFC 6298 has it, but that an unusually quick answer counts less.
    pub(super) fn sample(&mut self, time: i32) {
        // What an honest clock cannot have said is not believed.
        let Some(time) = u32::try_from(time).ok().filter(|&time| time <= MAX_RTO) else {
            return;
        };
        let (smoothed, variation) = match self.smoothed {
            None => (time, time / 2),
            Some((smoothed, variation)) => {
                let error = smoothed.abs_diff(time);
                let weight = if time < smoothed.saturating_sub(variation) {
                    32
                } else {
                    4
                };
                let variation = (variation * (weight - 1) + error) / weight;
                ((smoothed * 7 + time) / 8, variation)
            }
        };
        self.smoothed = Some((smoothed, variation));
        self.rto = (smoothed + FLUSH_INTERVAL.max(4 * variation)).clamp(MIN_RTO, MAX_RTO);
    }
}
