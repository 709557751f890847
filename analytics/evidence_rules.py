"""The limits of evidence: how much of which sign counts, each with what it rests on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EvidenceRules:
    """Limits of evidence. `..._z` are standard deviations, `..._ratio` multiples of what is expected."""

    load_z: float = 3.0
    flood_z: float = 5.0
    flood_ratio: float = 5.0
    """Rollouts double or treble, crowds and backlogs reach 4; beyond 5 times everything expected is a flood."""
    strong_z: float = 7.0
    strong_ratio: float = 6.0
    steady_ratio: float = 3.4
    """Kept up for 15 s by a device whose peers do nothing of the kind: sampling is doubled or trebled, not more."""
    steady_z: float = 8.0
    steady_share: float = 0.1
    """... and by no more than this share of its peers (or by it alone): a change of sampling concerns many."""
    event_z: float = 1.7
    """2 (sqrt(2 + 3/8) - sqrt(3/8)) = 1.86: two events in a window, one (1.12) is not enough."""
    slow_z: float = 2.9
    """Four seconds with an event in the last minute: 2 (sqrt(4 + 3/8) - sqrt(3/8)) = 2.96."""
    louder_z: float = 2.5
    louder_tenfold: float = 0.5
    """One window in 160 by chance, and a tenth of that for every ten times as many devices that might be it (3.5: one
    in 4,000). Readings that double at a rhythm of 1 s stand 8 above what is expected."""
    thrice_z: float = 2.4
    """Three events: 2 (sqrt(3 + 3/8) - sqrt(3/8)) = 2.45."""
    size_z: float = 6.0
    size_floor: float = 0.15
    size_doublings: float = 2.5
    """Beyond the largest payload ever learnt. A rollout's 300 bytes on 85 are 2 doublings, and come after a reboot."""
    size_reboot_doublings: float = 6.0
    """No firmware makes readings 64 times as large."""
    changed_ratio: float = 1.25
    changed_z: float = 3.0
    changed_share: float = 0.5
    """What this share of the peers does in the middle of their sessions, an operator has asked for."""
    value_z: float = 10.0
    value_strong_z: float = 20.0
    frozen_decades: float = 20.0
    """Ten readings in a row that stay the same where hardly one ever did."""
    cascade_devices: int = 4
    cascade_share: float = 0.4
    """Four devices, or two fifths of a small group (two of five at least)."""
    cascade_spread: float = 5.0
    cascade_intervals: float = 2.5
    """A cascade spreads: over some seconds, and over more than its devices' own rhythm explains."""
    join_least: float = 2.0
    join_seconds: float = 4.0
    join_gaps: float = 8.0
    """While the next device may yet join, nobody knows what it will be: for 8 times the mean time in which one joined
    (silence that long has a chance of exp(-8) while they go on joining at random), within 2 and 4 s."""
    alone_seconds: float = 20.0
    alone_times: float = 3.0
    together_seconds: float = 12.0
    """Two that begin such a habit within moments need less time: one cause moved both."""
    """One device on a new topic of its own branch, and nothing else: an odd word is no attack, a habit is."""
    settled_seconds: float = 15.0
    seconds: float = 2.0
    """A burst inside one second is in five overlapping windows: evidence must show in two seconds."""
    storm: float = 0.2
    """With this share of the fleet dropped in the last minute, a fresh connection excuses a burst ..."""
    storm_seconds: float = 6.0
    """... for this long, unless the burst is beyond ..."""
    storm_ratio: float = 20.0
    storm_z: float = 15.0
