"""Store a file, look at it, and download it verified."""

import clouddirect

with clouddirect.open_store("local", path="files", container="images", create=True) as store:
    stored = store.put("2026/right.jpg", "right.jpg", content_type="image/jpeg", if_absent=True)
    print(stored.key, stored.size)
    for found in store.list(prefix="2026/"):
        print(found.key, found.size)
    downloaded = store.download("2026/right.jpg", "copy.jpg")
    print("verified by", downloaded.verified)
