-- Let go of the function that knew no corrected requests.
DROP FUNCTION IF EXISTS take_key(uuid, uuid, text);
