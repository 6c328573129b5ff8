-- Services that were deleted, of which records are left: they are removed little by little (`purges.rs`).
CREATE TABLE deleted_services (
    sid BLOB PRIMARY KEY
) WITHOUT ROWID;
