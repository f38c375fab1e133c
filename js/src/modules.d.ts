/** A module bundled as text, see build.mjs. */
declare module "string:*" {
  const code: string;
  export default code;
}

/** A module bundled, compressed and written in base64. */
declare module "packed:*" {
  const code: string;
  export default code;
}
