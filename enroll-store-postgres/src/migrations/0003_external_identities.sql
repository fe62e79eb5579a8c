-- Read by: identities_by_external_id.
CREATE INDEX enroll_identities_external ON enroll_identities (external_id)
    WHERE external_id IS NOT NULL;
