"""Which values stand in what roles say to each other, and within which bounds?"""

from typing import Annotated

from msgspec import Meta

ResourceId = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
InfoHashV1 = Annotated[str, Meta(pattern="^[0-9a-f]{40}\\Z")]
NodeId = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
NodeIdOrNone = Annotated[str, Meta(pattern="^([0-9a-f]{64})?\\Z")]
SessionId = Annotated[str, Meta(pattern="^[0-9a-f]{16,64}\\Z")]
Count = Annotated[int, Meta(ge=0, le=2**62)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Text = Annotated[str, Meta(max_length=512)]
