-- Names come in any order, and an index by them is written in a page of its own at every redemption.
-- The ids of nodes are made in the order of time: what is found by them lies together.
DROP INDEX enroll_redemptions_name;

-- Read by: prior_redemption, close_of_node, keep_attempts, list_attempts.
CREATE INDEX enroll_redemptions_node ON enroll_redemptions (node_id);

-- The attempt that a redemption made is read from the redemption's row while its node is there.
DELETE FROM enroll_attempts WHERE outcome = 'accepted' AND EXISTS (
    SELECT 1 FROM enroll_nodes AS node JOIN enroll_redemptions AS redemption
        ON redemption.node_id = node.id
    WHERE node.name = enroll_attempts.node_name AND redemption.at = enroll_attempts.at
        AND redemption.token_id IS enroll_attempts.token_id);
