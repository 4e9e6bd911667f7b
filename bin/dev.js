#!/usr/bin/env -S node --import tsx --disable-warning=ExperimentalWarning
// The program straight from commands/*.ts, with stack traces. Worker threads still come from dist/: build once.
import { execute } from '@oclif/core';

await execute({ development: true, dir: import.meta.url });
