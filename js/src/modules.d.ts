/** A module bundled as text, see build.mjs. */
declare module "string:*" {
  const code: string;
  export default code;
}
