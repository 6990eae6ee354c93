"""What an image file holds: who is on it, which eye, how bright it is, and a small version of it for the report.

Files come from cameras and from strangers: nothing that is wrong with one may stop the sandbox, and nothing that a
decoder says of one is passed on, since it may repeat patient data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from clouddirect.orders.models import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PixelImage

__all__ = ["Marks", "OrderImage", "Picture", "laterality_in_name", "place_of", "read_marks", "read_picture"]

#: Longest side of the small version, in pixels; a report shows no more.
_THUMBNAIL = 720
#: Mean luminance, of 255, below which nobody could grade a picture. A retina in its black surround has 60 to 90.
TOO_DARK = 18.0

_IMAGE_DESCRIPTION, _EXIF_IFD, _USER_COMMENT = 0x010E, 0x8769, 0x9286
_DICOM_EYES = {"R": "OD", "L": "OS"}
_EYE = re.compile(r"(?<![A-Za-z])(OD|OS)(?![A-Za-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Marks:
    """What an image's own metadata says.

    Attributes:
        patient_id: DICOM PatientID, or the EXIF field ImageDescription.
        laterality: ``OD`` or ``OS``: DICOM ImageLaterality or Laterality, or the EXIF field UserComment.
    """

    patient_id: str | None = field(default=None, repr=False)
    laterality: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as far as it could be decoded.

    Attributes:
        pixels: a small RGB version, or None.
        luminance: mean luminance of the whole, 0 to 255, or None.
        problem: why it could not be decoded, or None.
    """

    pixels: PixelImage | None = field(default=None, repr=False)
    luminance: float | None = None
    problem: str | None = None

    @property
    def ungradable_reason(self) -> str | None:
        """Why nobody could grade this picture; None when it is good."""
        if self.luminance is None:
            return "Unreadable Image"
        return "Image Too Dark" if self.luminance < TOO_DARK else None


@dataclass(slots=True, eq=False)
class OrderImage:
    """An image that the sandbox has taken in for an order.

    Attributes:
        entry: what is said of it, its place in the store included.
        laterality: ``OD``, ``OS`` or ``OU``: as the order says, else as the image itself or its name says, else ``OD``.
        received: when it was taken in.
        picture: what it shows, once it has been read.
    """

    entry: Image
    laterality: str
    received: datetime
    picture: Picture | None = field(default=None, repr=False)

    @property
    def place(self) -> tuple[str, str]:
        """Container and key."""
        return place_of(self.entry)


def place_of(image: Image) -> tuple[str, str]:
    """Return container and key of an image; empty texts where they are missing."""
    stored = image.azure_blob_storage
    return (stored.container or "", stored.file_name or "") if stored else ("", "")


def laterality_in_name(name: str) -> str | None:
    """Return the eye that a file's name speaks of (``…_OD.jpg``), or None."""
    found = _EYE.search(PurePosixPath(name).name)
    return found.group(1).upper() if found else None


def read_marks(data: bytes) -> Marks:
    """Read an image's metadata; a file that cannot be read has no marks."""
    try:
        return _dicom_marks(data) if _is_dicom(data) else _exif_marks(data)
    except Exception:  # noqa: BLE001 - decoders raise anything on a broken file, and it then identifies nobody
        return Marks()


def read_picture(data: bytes) -> Picture:
    """Decode an image; what cannot be decoded has a ``problem``."""
    from PIL import Image as Pixels
    from PIL import ImageOps, ImageStat

    try:
        if _is_dicom(data):
            whole = Pixels.fromarray(_dicom_pixels(data)).convert("RGB")
        else:
            with Pixels.open(BytesIO(data)) as opened:
                opened.draft("RGB", (2 * _THUMBNAIL, 2 * _THUMBNAIL))
                whole = ImageOps.exif_transpose(opened).convert("RGB")
        luminance = ImageStat.Stat(whole.convert("L").reduce(max(1, max(whole.size) // 256))).mean[0]
        whole.thumbnail((_THUMBNAIL, _THUMBNAIL))
    except Exception as error:  # noqa: BLE001 - as above; its text may hold what the file says, so its type alone is kept
        return Picture(problem=f"This image could not be decoded ({type(error).__name__}).")
    return Picture(whole, luminance)


def _is_dicom(data: bytes) -> bool:
    return data[128:132] == b"DICM"


def _exif_marks(data: bytes) -> Marks:
    from PIL import Image as Pixels

    with Pixels.open(BytesIO(data)) as opened:
        exif = opened.getexif()
    comment = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if isinstance(comment, bytes):
        # the first eight bytes name the encoding
        code, text = comment[:8], comment[8:]
        comment = text.decode("utf-16", "replace") if code.startswith(b"UNICODE") else text.decode("latin-1")
    found = _EYE.search(str(comment))
    return Marks(_text(exif.get(_IMAGE_DESCRIPTION)), found.group(1).upper() if found else None)


def _dicom_marks(data: bytes) -> Marks:
    import pydicom
    from pydicom.config import disable_value_validation

    # validation would warn, and its warnings repeat values
    with disable_value_validation():
        dataset = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
        side = dataset.get("ImageLaterality") or dataset.get("Laterality")
        return Marks(_text(dataset.get("PatientID")), _DICOM_EYES.get(str(side).strip().upper()))


def _dicom_pixels(data: bytes) -> Any:
    """The first frame as 8-bit grey or RGB."""
    import numpy as np
    import pydicom
    from pydicom.config import disable_value_validation
    from pydicom.pixels.utils import pixel_array

    with disable_value_validation():
        dataset = pydicom.dcmread(BytesIO(data))
        kind = str(dataset.PhotometricInterpretation)
        if kind == "PALETTE COLOR":
            raise ValueError("colours by palette are not supported")
        pixels = pixel_array(dataset, index=0)
        highest = 2 ** int(dataset.BitsStored) - 1
    scaled = pixels.astype(np.float32) * (255.0 / highest)
    if kind == "MONOCHROME1":
        scaled = 255.0 - scaled
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _text(value: object) -> str | None:
    text = str(value).strip().strip("\0").strip() if value is not None else ""
    return text or None
