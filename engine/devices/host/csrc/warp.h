// Warp operations, computed for all lanes at once when the last lane of the mask has arrived.
#pragma once
namespace simt {

static void compute_shuffle(Warp& warp, uint32_t lanes) {
  for (uint32_t set = lanes; set; set &= set - 1) {
    Lane& lane = warp.lane[__builtin_ctz(set)];
    if (!((lanes >> lane.source) & 1))
      fail("shuffle at line %d reads lane %d, which takes no part (mask %08x, exited %08x)", lane.site, lane.source,
           lane.mask, warp.exited);
    lane.result = warp.lane[lane.source].value;
  }
}

static void compute_ballot(Warp& warp, uint32_t lanes) {
  uint32_t votes = 0;
  for (uint32_t set = lanes; set; set &= set - 1)
    votes |= (uint32_t)warp.lane[__builtin_ctz(set)].value << __builtin_ctz(set);
  for (uint32_t set = lanes; set; set &= set - 1) warp.lane[__builtin_ctz(set)].result = votes;
}

static void compute_butterfly_sum(Warp& warp) {
  float value[32], next[32];
  for (int l = 0; l < 32; l++) memcpy(&value[l], &warp.lane[l].value, 4);
  for (int m = 16; m; m >>= 1) {
    for (int l = 0; l < 32; l++) next[l] = value[l] + value[l ^ m];
    memcpy(value, next, sizeof value);
  }
  for (int l = 0; l < 32; l++) memcpy(&warp.lane[l].result, &value[l], 4);
}

// Fragment layout: PTX ISA, "Matrix Fragments for mma.m16n8k16" (8 bit) and "mma.m16n8k32"; also in portable.cuh.
template <int K> static void compute_mma(Warp& warp) {
  int8_t a[16][K], b[8][K];  // b by column
  for (int l = 0; l < 32; l++) {
    const Fragments* f = (const Fragments*)warp.lane[l].fragments;
    const int group = l >> 2, t = l & 3;
    for (int half = 0; half < K / 16; half++) {
      memcpy(&a[group][16 * half + 4 * t], &f->a[2 * half], 4);
      memcpy(&a[group + 8][16 * half + 4 * t], &f->a[2 * half + 1], 4);
      memcpy(&b[group][16 * half + 4 * t], &f->b[half], 4);
    }
  }
  for (int l = 0; l < 32; l++) {
    const Fragments* f = (const Fragments*)warp.lane[l].fragments;
    int d[4];
    for (int i = 0; i < 4; i++) {
      const int8_t *row = a[(l >> 2) + (i >> 1) * 8], *column = b[(l & 3) * 2 + (i & 1)];
      int sum = 0;
      for (int k = 0; k < K; k++) sum += (int)row[k] * (int)column[k];
      d[i] = (int)((unsigned)f->c[i] + (unsigned)sum);
    }
    memcpy(f->d, d, sizeof d);
  }
}

// Completes the operation of `mask` if every lane of it that is still alive has arrived.
static void try_complete(Warp& warp, uint32_t mask, int site) {
  const uint32_t lanes = mask & ~warp.exited;
  if (!lanes || (warp.pending & lanes) != lanes) return;
  const Operation op = warp.lane[__builtin_ctz(lanes)].op;
  for (uint32_t set = lanes; set; set &= set - 1) {
    Lane& lane = warp.lane[__builtin_ctz(set)];
    if (lane.mask != mask) fail("warp operation at line %d: masks differ (%08x and %08x)", site, mask, lane.mask);
    if (lane.op != op) fail("warp operations differ within one mask: lines %d and %d", site, lane.site);
  }
  if (op >= BUTTERFLY_SUM && lanes != 0xffffffffu) fail("warp operation at line %d needs all 32 lanes", site);
  rt.counters.warp_operations++;
  switch (op) {
    case SYNC: warp.epoch += lanes == (0xffffffffu & ~warp.exited); break;
    case SHUFFLE: compute_shuffle(warp, lanes); break;
    case BALLOT: compute_ballot(warp, lanes); break;
    case BUTTERFLY_SUM: compute_butterfly_sum(warp); break;
    case MMA_S8_K32: compute_mma<32>(warp); break;
    case MMA_S8_K16: compute_mma<16>(warp); break;
  }
  warp.pending &= ~lanes;
  warp.ready |= lanes;
}

}  // namespace simt
