-- The tables with personal data, made before the first load exactly as the platform would make them, and owned by its
-- role, so that no row lies there unmasked for a moment. The platform finds them and leaves them as they are.
-- After a change of the declarations run this file again: every statement may be repeated.
use role ${prefix}_TRANSFORMER;

${tables}use role ACCOUNTADMIN;
${tags}