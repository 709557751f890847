"""What can happen to a fleet: benign, hostile, and faults, each a class with documented parameters.

A behaviour says what happens and when; it never publishes, connects or looks at a clock itself.
"""

from collections.abc import Mapping

from . import benign, faults, hostile, outside
from .base import Behaviour

BEHAVIOURS: Mapping[str, type[Behaviour]] = {
    behaviour.kind: behaviour
    for behaviour in (
        benign.Diurnal,
        benign.FlashCrowd,
        benign.FirmwareRollout,
        benign.ReconnectStorm,
        benign.BackfillBurst,
        benign.Onboarding,
        benign.SamplingChange,
        benign.AlarmCascade,
        benign.MaintenanceSilence,
        benign.ClockSkew,
        benign.QosDuplicates,
        benign.BatterySaver,
        hostile.PublishFlood,
        hostile.LowAndSlow,
        hostile.CoordinatedBotnet,
        outside.ConnectFlood,
        outside.SlowConnect,
        outside.CredentialBruteforce,
        outside.ClientIdTakeover,
        hostile.TopicEnumeration,
        hostile.UnauthorisedPublish,
        hostile.OversizePayload,
        hostile.MalformedPayload,
        hostile.Exfiltration,
        hostile.SensorSpoof,
        hostile.Replay,
        hostile.C2Beacon,
        hostile.BillAbuse,
        hostile.Mimic,
        faults.BrokerRestart,
        faults.NetworkDrop,
        faults.Latency,
        faults.Throttle,
        faults.ServiceError,
        faults.HandlerCrash,
        faults.StreamLag,
        faults.ServiceLatency,
        faults.EmulatorRestart,
        faults.DuplicateDelivery,
        faults.Reorder,
        faults.PoisonMessage,
        faults.ClockJump,
    )
}

WITHOUT_TARGETS = frozenset(
    kind
    for kind, behaviour in BEHAVIOURS.items()
    if issubclass(behaviour, faults.PlatformFault | outside.ConnectFlood | outside.SlowConnect)
)
"""Kinds that concern no device of the fleet: `targets` may be left out."""

__all__ = ["BEHAVIOURS", "WITHOUT_TARGETS", "Behaviour"]
