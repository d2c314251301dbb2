// Refers to a local file as TypeScript may.
// expect: completed "1"
/// <reference path="/etc/passwd" />
/// <reference types="node" />
import type { Stats } from 'node:fs';
const n: Stats | number = 1;
n
