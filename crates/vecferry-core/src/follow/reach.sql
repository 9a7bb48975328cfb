-- Lets the server connect to where `vecferry.conninfo` says. See reach.rs for why it is written like this.
DO $body$
DECLARE
  words text;
  more text;
BEGIN
  PERFORM set_config('vecferry.sqlstate', '00000', true), set_config('vecferry.message', '', true);
  -- The answer is recognised by its words. Not everybody may choose their language.
  BEGIN
    PERFORM set_config('lc_messages', 'C', true);
  EXCEPTION WHEN OTHERS THEN
    NULL;
  END;
  EXECUTE format(
    'CREATE SUBSCRIPTION vecferry_check CONNECTION %L PUBLICATION vecferry_check '
    'WITH (create_slot = false, slot_name = vecferry_check, copy_data = false, enabled = false)',
    current_setting('vecferry.conninfo'));
EXCEPTION WHEN OTHERS OR query_canceled THEN
  GET STACKED DIAGNOSTICS words = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL;
  PERFORM set_config('vecferry.sqlstate', SQLSTATE, true), set_config('vecferry.message', words || E'\n' || more, true);
END
$body$
