/**
 * The grammars of tracebacks: which lines begin one, which continue it, and what they contain. The rules are the same as in
 * `cortex_jupyter/parsing/grammars`, which explains the forms; tests/parsing/fixtures/blocks.json tests both. A block is a traceback
 * with all its lines.
 */

export interface TracebackState {
  kind: "python" | "java" | "go" | "rust" | "native" | "nccl" | "cuda";
  type: string;
  message: string;
  frames: number;
  /** Hash of the frames, which identifies where a failure happened. */
  frameHash: number;
  chain: string[];
  state: string;
  prefix: string;
  /** Number of lines since the block's last certain line: they belong to it only if a later one does, or are of another thread. */
  looseLines: number;
  /** The last certain line is a frame's code, so that the exception, or a further frame, is next. */
  isCode: boolean;
}

/** Whether a line belongs to the block: yes; only if a later line does; no; no, but the block continues after it. */
export type Membership = "yes" | "maybe" | "no" | "apart";

const HEADER = "Traceback (most recent call last):";
const GROUP = "+ Exception Group ";
const BOX = /^(.*?)╭─+ Traceback \(most recent call last\) ─+╮\s*$/;
const RAISED = /^(?!(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b)((?:(?:[A-Za-z_]\w*|<locals>)\.)+\w+|[A-Z_]\w*|(?:[a-z]\w*)?(?:error|exception))(?::(?:\s+(.*)|\s*)|)$/;
const GROUPED = /^[\s|]*\| ([A-Za-z_][\w.]*): (.*)$/;
const GROUP_END = /^\s*\+-+$/;
const NAMED = /(?:[Ee]rror|[Ee]xception|Exit|Interrupt|Group|Iteration|Warning)$/;
const MAX_APART = 5;
const CHAIN = /^(?:During handling of the above exception, another exception occurred|The above exception was the direct cause of the following exception):$/;
const FILE = /^[\s|>]*File "(.*)", line (\d+)(?:, in (.*)| in (.*)|)$/;
const BOXED = /^│ (\S+):(\d+) in (\S+)\s*│\s*$/;
const MAX_LOOSE_LINES = 20;
const MESSAGE_GOES_ON = /^(?:CUDA kernel errors might|For debugging consider|Compile with `TORCH_USE_CUDA_DSA`|Device-side assert|Exception raised from |\s*frame #\d+: |nccl\w+Error: |Last error:|Cuda failure |See documentation for Memory|If reserved but unallocated|Search for `cuda|The client socket has|Original exception|Exception type:|Detail: )/;
const TEST = /^_+ [^_\s].* _+$/;
const PART = /^(?:=+ .* =+|-+ Captured .* -+)$/;
const RAISED_IN = /^E(?: {2,}(.*))?$/;
const PLACE = /^(\S[^:]*):(\d+): ?(?:in (.+)|([A-Za-z_][\w.]*)|)$/;
const MAX_TEST_LINES = 200;
const AT = /^\s+at (?:[\w$.<>/@ -]+\([^()]*\)(?: ~?\[.*\])?|.*:\d+:\d+\)?)\s*$/;
const JAVA = /^\s+at (?:.*[/@])?([\w$.<>]+)\(([^:()]*)(?::(\d+))?\)/;
const SCRIPT = /^\s+at (?:async )?(?:(.+?) \()?(?:file:\/\/)?(.+?):(\d+):\d+\)?\s*$/;
const THROWN = /((?:[a-zA-Z_$][\w$]*\.)*[A-Z][\w$]*(?:Exception|Error|Throwable)|\bError)(?::\s*(.*))?$/;
const CAUSED = /^\s*(?:Caused by|Suppressed|Wrapped by|\[cause\]): (.*)$/;
const GO = /^(panic|fatal error|unexpected fault address|SIG[A-Z]+):? (.*)$/;
const ROUTINE = /^goroutine \d+ [^[]*\[[^\]]*\]:$/;
const GO_ON = /^(?:\t\S.*|\[signal .*|\s*panic: .*|exit status \d+|runtime: .*|r\w+\s+0x[0-9a-f]+|\.\.\.additional frames elided\.\.\.)$/;
const GO_CALL = /^(?:created by )?([\w./*()[\]{}·$@~-]+?)(?:\([^()]*\)| in goroutine \d+)?$/;
const GO_FILE = /^\t(\S+):(\d+)(?: .*)?$/;
const PANIC = /^thread '[^']*' (?:\(\d+\) )?panicked at (?:'(.*)', )?((?:[A-Za-z]:\\)?[^\s':][^:]*):(\d+):\d+:?$/;
const RUST_NOTE = /^(?:note: .*RUST_BACKTRACE.*|stack backtrace:|thread .* aborting\.)$/;
const RUST_CALL = /^ +\d+: +(?:0x[0-9a-f]+ - )?(.+)$/;
const RUST_PLACE = /^ +at (.+?):(\d+)(?::\d+)?$/;
const NATIVE = /^terminate called after throwing an instance of '(.+)'/;
const WHAT = /^\s+what\(\):\s+(.*)$/;
const NATIVE_FRAME = /^\s*frame #\d+: (.+?)(?: \+ 0x[0-9a-f]+)? \((?:0x[0-9a-f]+ in )?(.*)\)$/;
const FATAL = /^(Fatal Python error): (.*)$/;
const FATAL_ON = /^(?:(?:Current t|T)hread 0x\S+.*\(most recent call first\):|Python runtime state: .*|Extension modules: .*|\s+(?:File |\.\.\.|<no Python frame>).*)$/;
const NCCL = /^\S+:\d+:\d+ \[\d+\] (?:\S+ )*?NCCL WARN (.*)$/;
const NCCL_ON = /^\S+:\d+:\d+ \[\d+\] (?:\S+ )*?NCCL (?:INFO (\S+):(\d+) -> \d+.*|WARN .*)$/;
const ASSERT = /^(\S+):(\d+): (\S+): block: \[.*?\], thread: \[.*?\] Assertion `(.*)` failed/;

const newState = (kind: TracebackState["kind"], type = "", message = "", state = "", prefix = ""): TracebackState => ({ kind, type, message, state, prefix, frames: 0, frameHash: 0, chain: [], looseLines: 0, isCode: false });

function addFrame(block: TracebackState, ...place: (string | undefined)[]): void {
  block.frames++;
  addToHash(block, ...place);
}

function addToHash(block: TracebackState, ...place: (string | undefined)[]): void {
  for (const text of place) for (let i = 0; i < (text?.length ?? 0); i++) block.frameHash = Math.imul(block.frameHash ^ text!.charCodeAt(i), 16_777_619);
}

/** Return the state of a block whose first line this is; null if the line begins no block. */
export function startTraceback(line: string): TracebackState | null {
  let match: RegExpExecArray | null = null;
  if (line.includes("Traceback (most")) {
    const head = parseHeader(line);
    if (head) return newState("python", "", "", ...head);
    match = BOX.exec(line);
    return match && newState("python", "", "", "box", match[1]);
  }
  switch (line[0]) {
    case "p": case "f": case "u": case "S":
      if ((match = GO.exec(line))) return newState("go", match[1], match[2].trim(), "panic");
      break;
    case "g":
      if (ROUTINE.test(line)) return newState("go", "goroutine", line.slice(10).replace(/:+$/, ""), "calls");
      break;
    case "t":
      if ((match = NATIVE.exec(line))) return newState("native", match[1]);
      if ((match = PANIC.exec(line))) {
        const block = newState("rust", "panic", match[1] ?? "", match[1] === undefined ? "message" : "raised");
        addFrame(block, match[2], match[3]);
        return block;
      }
      break;
    case "F":
      if ((match = FATAL.exec(line))) return newState("native", match[1], match[2], "python");
      break;
    case "_":
      if (TEST.test(line)) return newState("python", "", "", "test");
  }
  if (line.includes("NCCL WARN ") && (match = NCCL.exec(line))) return newState("nccl", "NCCL WARN", match[1]);
  if (line.includes(": block: [") && (match = ASSERT.exec(line))) {
    const block = newState("cuda", "CUDA assertion", match[4]);
    addFrame(block, match[1], match[2], match[3]);
    return block;
  }
  return null;
}

/** Parse the first line of a traceback in Python. It uses no regular expression, which would be slow on lines with many blanks. */
function parseHeader(line: string): [state: string, prefix: string] | null {
  const at = line.indexOf(HEADER);
  if (at < 0 || line.slice(at + HEADER.length).trim() !== "") return null;
  const before = line.slice(0, at);
  return before.endsWith(GROUP) ? ["group", before.slice(0, -GROUP.length).trimEnd()] : ["frames", before];
}

/** Return the state of a block whose first line is recognised only by the stack frame in the line after it. */
export function startFromFrame(line: string, before: string): TracebackState | null {
  if (AT.test(line)) {
    const thrown = THROWN.exec(before);
    return thrown && newState("java", thrown[1], thrown[2] ?? "");
  }
  return line.trimStart().startsWith("frame #") && before.startsWith("Exception raised from") ? newState("native", "Exception", before) : null;
}

/** Add the next line of the source to a block. Return whether it belongs to the block. */
export function addLine(block: TracebackState, line: string): Membership {
  if (block.kind === "python" && block.prefix !== "") {
    if (line.startsWith(block.prefix)) line = line.slice(block.prefix.length);
    else if (line.trimEnd() === block.prefix.trimEnd()) line = "";
  }
  return STEPS[block.kind](block, line);
}

function python(block: TracebackState, line: string): Membership {
  const blank = line.trim() === "";
  if (block.state === "raised" || block.state === "chain") return blank ? "maybe" : afterException(block, line);
  if (block.state === "group" || block.state === "group end") return group(block, line);
  if (block.state === "test" || block.state === "test raised") return test(block, line);
  if (blank) return "maybe";
  let match: RegExpExecArray | null;
  if (block.state === "box" && /^[│╭╰├]/.test(line)) {
    if ((match = BOXED.exec(line))) addFrame(block, match[1], match[2], match[3]);
    return "yes";
  }
  // After a line of another thread, only what certainly continues the traceback belongs to it.
  if (block.state === "frames" && (block.looseLines > 0 ? /^ {4}|^ {2}File "/ : /^(?:[ \t]|> File )/).test(line) && !startTraceback(line)) {
    block.looseLines = 0;
    block.isCode = (match = FILE.exec(line)) === null;
    if (match) addFrame(block, match[1], match[2], match[3]);
    return "yes";
  }
  match = RAISED.exec(line);
  // After a line of another thread, `Done` or `Epoch: 3` is one more of them. `MyAbort: no data` after a frame and one such line is the exception.
  if (match === null || (block.looseLines > 0 && !match[1].includes(".") && !NAMED.test(match[1]) && !(block.isCode && block.looseLines === 1 && /[a-z]/i.test(match[2] ?? "")))) return block.state === "frames" ? judgeLoose(block, line, MAX_APART, "apart") : "no";
  [block.type, block.message, block.state, block.looseLines] = [match[1], (match[2] ?? "").trimEnd(), "raised", 0];
  return "yes";
}

/** Return `verdict` for one of at most `max` lines that may be more of a message, or of another thread or process. */
function judgeLoose(block: TracebackState, line: string, max: number, verdict: Membership): Membership {
  return ++block.looseLines > max || startTraceback(line) ? "no" : verdict;
}

/** Add a line after the exception: a further line of its message, or the text that leads to the next exception. */
function afterException(block: TracebackState, line: string): Membership {
  const head = parseHeader(line);
  // PyTorch writes the traceback of a worker process into the message of the exception.
  if (head && (block.state === "chain" || head[1] === "Original ")) {
    block.chain.push(tracebackTitle(block));
    [block.type, block.message, block.state, block.looseLines] = ["", "", head[0], 0];
    return "yes";
  }
  if (CHAIN.test(line)) {
    [block.state, block.looseLines] = ["chain", 0];
    return "yes";
  }
  if (block.state === "chain") return "no";
  if (block.looseLines === 0 && (MESSAGE_GOES_ON.test(line) || /^[ \t]/.test(line)) && !startTraceback(line)) {
    const match = NATIVE_FRAME.exec(line);
    if (match) addFrame(block, match[2], match[1]);
    return "yes";
  }
  return judgeLoose(block, line, MAX_LOOSE_LINES, "maybe");
}

function group(block: TracebackState, line: string): Membership {
  if (line.trim() === "") {
    block.state = "raised";
    return "maybe";
  }
  if (!/^\s*[|+]/.test(line)) return block.state === "group end" ? "no" : judgeLoose(block, line, MAX_APART, "apart");
  if (line.trimStart().startsWith(GROUP)) return "no";
  [block.state, block.looseLines] = [GROUP_END.test(line) ? "group end" : "group", 0];
  let match = GROUPED.exec(line);
  if (match && block.type !== "") block.chain.push(`${match[1]}: ${match[2]}`);
  else if (match) [block.type, block.message] = [match[1], match[2]];
  else if ((match = FILE.exec(line))) addFrame(block, match[1], match[2], match[3]);
  return "yes";
}

/** Add a line of a failed pytest test. `E` lines belong to the block, and a place (`file:line:`) after one. Other lines belong to it only if one of these follows. */
function test(block: TracebackState, line: string): Membership {
  let match = RAISED_IN.exec(line);
  if (match) {
    const text = (match[1] ?? "").trim();
    if (block.state === "test" && block.type !== "") block.chain.push(tracebackTitle(block));
    if (block.state === "test" || (block.type === "" && block.message.startsWith('File "'))) {
      const raised = RAISED.exec(text);
      [block.type, block.message] = raised ? [raised[1], raised[2] ?? ""] : [text.startsWith("assert ") ? "AssertionError" : "", text];
    }
    [block.state, block.looseLines] = ["test raised", 0];
    return "yes";
  }
  if (startTraceback(line) || PART.test(line) || ++block.looseLines > MAX_TEST_LINES) return "no";
  if ((match = PLACE.exec(line)) === null) return "maybe";
  addFrame(block, match[1], match[2]);
  if (block.state === "test raised") block.type ||= match[4] ?? "";
  block.state = "test";
  return block.type || block.message ? "yes" : "maybe";
}

function java(block: TracebackState, line: string): Membership {
  let match = CAUSED.exec(line);
  if (match) {
    block.chain.push(match[1]);
    return "yes";
  }
  if ((match = JAVA.exec(line))) addFrame(block, match[2], match[3], match[1]);
  else if ((match = SCRIPT.exec(line))) addFrame(block, match[2], match[3], match[1]);
  return /^[ \t].*\S/.test(line) && !startTraceback(line) ? "yes" : "no";
}

function go(block: TracebackState, line: string): Membership {
  if (line.trim() === "") {
    if (block.frames > 0) block.state = "others";
    return "maybe";
  }
  if (ROUTINE.test(line)) {
    block.state = block.frames > 0 ? "others" : "calls";
    return "yes";
  }
  let match = GO_FILE.exec(line);
  if (match) {
    if (block.state === "calls") addToHash(block, match[1], match[2]);
    return "yes";
  }
  if (GO_ON.test(line)) return "yes";
  if (block.state !== "panic" && (line.includes("(") || line.startsWith("created by ")) && (match = GO_CALL.exec(line))) {
    if (block.state === "calls") addFrame(block, match[1]);
    return "yes";
  }
  return "no";
}

function rust(block: TracebackState, line: string): Membership {
  let match: RegExpExecArray | null;
  if (block.state === "message") {
    [block.message, block.state] = [line.trim(), "raised"];
    return "yes";
  }
  if (RUST_NOTE.test(line)) {
    block.state = line === "stack backtrace:" ? "backtrace" : "raised";
    return "yes";
  }
  if (block.state === "backtrace") {
    if ((match = RUST_CALL.exec(line))) addFrame(block, match[1]);
    else if ((match = RUST_PLACE.exec(line))) addToHash(block, match[1], match[2]);
    return match ? "yes" : "no";
  }
  // The values of an assertion are indented.
  return block.looseLines === 0 && /^ .*\S/.test(line) ? "yes" : judgeLoose(block, line, MAX_LOOSE_LINES, "maybe");
}

function native(block: TracebackState, line: string): Membership {
  if (line.trim() === "") return "maybe";
  let match: RegExpExecArray | null;
  if (block.state === "python") {
    if ((match = FILE.exec(line))) addFrame(block, match[1], match[2], match[4]);
    return FATAL_ON.test(line) ? "yes" : "no";
  }
  if ((match = WHAT.exec(line))) {
    block.message = match[1];
    return "yes";
  }
  if ((match = NATIVE_FRAME.exec(line))) addFrame(block, match[2], match[1]);
  return match || MESSAGE_GOES_ON.test(line) ? "yes" : "no";
}

function nccl(block: TracebackState, line: string): Membership {
  if (line.trim() === "") return "maybe";
  const match = NCCL_ON.exec(line);
  if (match?.[1]) addFrame(block, match[1], match[2]);
  return match ? "yes" : "no";
}

const cuda = (block: TracebackState, line: string): Membership => (ASSERT.exec(line)?.[4] === block.message ? "yes" : "no");

const STEPS: Record<TracebackState["kind"], (block: TracebackState, line: string) => Membership> = { python, java, go, rust, native, nccl, cuda };

export function tracebackTitle(block: TracebackState): string {
  return block.message === "" ? block.type || "Traceback" : `${block.type}: ${block.message}`;
}

/** Return the rank that PyTorch and torchrun put before each line of a process: `[rank0]:`. Ranks write at the same time. */
export function rankOfLine(text: string): string {
  return text[0] === "[" ? (/^\[(?:rank|default)\d+\]:/.exec(text)?.[0] ?? "") : "";
}

/** First characters of lines that may begin a block, and texts that all other such lines and bars contain. Most lines match neither. */
const FIRST_CHARS = /^[pfuSgtF_]|^\s+(?:at |frame #)|^frame #/;
const ANYWHERE = /[%━[\u001b]|Traceback/;

/** Return whether a line may begin a block or be a bar. */
export function mayStartBlock(text: string): boolean {
  return FIRST_CHARS.test(text) || ANYWHERE.test(text);
}
