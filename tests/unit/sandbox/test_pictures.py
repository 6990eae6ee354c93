from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage, generate_uid

from clouddirect.sandbox.fundus import demo_image
from clouddirect.sandbox.pictures import laterality_in_name, read_marks, read_picture


def jpeg(exif: Image.Exif | None = None) -> bytes:
    target = BytesIO()
    Image.new("RGB", (64, 48), (200, 90, 40)).save(target, "JPEG", exif=exif or Image.Exif())
    return target.getvalue()


def dicom(pixels: np.ndarray, photometric: str = "MONOCHROME2", bits: int = 8, **tags: str) -> bytes:  # type: ignore[type-arg]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = (
        pixels.shape[-3:-1] if pixels.ndim > 2 and pixels.shape[-1] == 3 else pixels.shape[-2:]
    )
    dataset.SamplesPerPixel = 3 if pixels.shape[-1] == 3 else 1
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 if bits == 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    target = BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def test_exif_names_patient_and_eye() -> None:
    exif = Image.Exif()
    exif[0x010E] = " MRN-77 "
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0left eye: OS"
    marks = read_marks(jpeg(exif))
    assert (marks.patient_id, marks.laterality) == ("MRN-77", "OS")
    assert "MRN-77" not in repr(marks)


def test_dicom_names_patient_and_eye() -> None:
    data = dicom(np.full((8, 8), 100, np.uint8), PatientID="MRN-77", ImageLaterality="L")
    assert (read_marks(data).patient_id, read_marks(data).laterality) == ("MRN-77", "OS")
    data = dicom(np.full((8, 8), 100, np.uint8), PatientID="", Laterality="R")
    assert (read_marks(data).patient_id, read_marks(data).laterality) == (None, "OD")


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff" + b"x" * 50, b"\0" * 128 + b"DICM" + b"junk" * 9])
def test_a_broken_file_identifies_nobody_and_has_a_problem(data: bytes) -> None:
    assert read_marks(data).patient_id is None
    picture = read_picture(data)
    assert picture.pixels is None
    assert picture.problem
    assert picture.ungradable_reason == "Unreadable Image"


def test_a_cut_off_file_has_a_problem() -> None:
    whole = demo_image(1, "OD")
    assert read_picture(whole[: len(whole) // 2]).problem


@pytest.mark.parametrize(
    ("pixels", "photometric", "bits", "mean"),
    [
        (np.full((20, 30), 100, np.uint8), "MONOCHROME2", 8, 100),
        (np.full((20, 30), 100, np.uint8), "MONOCHROME1", 8, 155),
        (np.full((20, 30), 2048, np.uint16), "MONOCHROME2", 12, 127),
        (np.full((20, 30, 3), 60, np.uint8), "RGB", 8, 60),
    ],
)
def test_dicom_is_decoded_with_its_brightness(pixels: np.ndarray, photometric: str, bits: int, mean: int) -> None:  # type: ignore[type-arg]
    picture = read_picture(dicom(pixels, photometric, bits))
    assert picture.problem is None
    assert picture.pixels is not None
    assert picture.pixels.size == (30, 20)
    assert picture.luminance == pytest.approx(mean, abs=1.5)


def test_jpeg_inside_dicom_is_decoded_in_its_colours() -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = 48, 64, 3, 0
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = encapsulate([jpeg()])
    target = BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    picture = read_picture(target.getvalue())
    assert picture.pixels is not None
    assert picture.pixels.getpixel((30, 20)) == pytest.approx((200, 90, 40), abs=4)


def test_dicom_with_a_palette_has_a_problem_rather_than_wrong_colours() -> None:
    assert read_picture(dicom(np.full((8, 8), 1, np.uint8), "PALETTE COLOR")).problem


def test_the_first_of_several_frames_is_shown() -> None:
    frames = np.stack([np.full((20, 30), 200, np.uint8), np.full((20, 30), 10, np.uint8)])
    assert read_picture(dicom(frames, NumberOfFrames="2")).luminance == pytest.approx(200, abs=1)


def test_large_pictures_are_made_small() -> None:
    target = BytesIO()
    Image.new("RGB", (4000, 3000), (180, 90, 40)).save(target, "JPEG")
    picture = read_picture(target.getvalue())
    assert picture.pixels is not None
    assert picture.pixels.size == (720, 540)


def test_dark_is_ungradable_and_a_retina_is_not() -> None:
    assert read_picture(demo_image(1, "OD", dark=True)).ungradable_reason == "Image Too Dark"
    assert read_picture(demo_image(1, "OD")).ungradable_reason is None


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("x/abc_OD.jpg", "OD"),
        ("abc-os-2.dcm", "OS"),
        ("odd-mosaic.jpg", None),
        ("04211055-dff7-41ef-9ef3-43fe61d10d43.dcm", None),
        ("OD/abc.jpg", None),
    ],
)
def test_the_eye_in_a_name(name: str, eye: str | None) -> None:
    assert laterality_in_name(name) == eye


def test_the_samples_are_decoded(shared: Path) -> None:
    folder = shared / "domain" / "samples" / "images"
    for name in ("fundus-color.jpg", "secondary-capture.dcm"):
        picture = read_picture((folder / name).read_bytes())
        assert picture.problem is None
        assert picture.ungradable_reason is None
    assert pydicom.dcmread(folder / "secondary-capture.dcm").PatientID == ""
    assert read_marks((folder / "secondary-capture.dcm").read_bytes()).patient_id is None
