//! Vectors without a model: the same number always gives the same vector, and they lie in
//! clusters, as real embeddings do. Uniformly random vectors in many dimensions are all equally
//! far apart, which makes the recall of an index meaningless.

/// How far members lie from their cluster's centre, relative to the centre's own spread: near
/// enough that neighbours are of the same cluster, far enough that they are not all alike.
const SPREAD: f32 = 0.4;

/// SplitMix64: small, fast, and good enough that nearby seeds give unrelated streams.
#[derive(Debug, Clone)]
pub struct SplitMix(u64);

impl SplitMix {
    /// A stream of numbers; the same seed gives the same stream.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`, which must not be zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next_u64() % limit
    }

    /// About normally distributed, mean 0: the sum of four 16-bit numbers of one draw.
    fn bell(&mut self) -> f32 {
        let bits = self.next_u64();
        let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        sum as f32 / 131_070.0 - 1.0
    }
}

/// A family of unit vectors.
#[derive(Debug, Clone)]
pub struct Vectors {
    seed: u64,
    dimensions: usize,
    centres: Vec<Vec<f32>>,
}

impl Vectors {
    /// Vectors of so many dimensions in so many clusters (at least one).
    pub fn new(seed: u64, dimensions: usize, clusters: usize) -> Self {
        let centre = |number| {
            let mut random = SplitMix::new(seed ^ (number as u64) << 32);
            (0..dimensions).map(|_| random.bell()).collect()
        };
        Self { seed, dimensions, centres: (0..clusters.max(1)).map(centre).collect() }
    }

    /// The vector of this number, of length 1.
    pub fn get(&self, number: u64) -> Vec<f32> {
        let mut random =
            SplitMix::new(self.seed.rotate_left(17) ^ number.wrapping_mul(0x9e37_79b9));
        let centre = &self.centres[random.below(self.centres.len() as u64) as usize];
        let mut vector: Vec<f32> =
            centre.iter().map(|value| value + SPREAD * random.bell()).collect();
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|value| *value /= length);
        }
        vector
    }

    /// How many dimensions each has.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }
}

/// A vector as pgvector reads it in SQL: `[0.1,0.2]`.
pub fn literal(vector: &[f32]) -> String {
    let values: Vec<String> = vector.iter().map(f32::to_string).collect();
    format!("[{}]", values.join(","))
}

/// A vector as pgvector sends it in binary: dimensions, two unused bytes, big-endian floats.
pub fn binary(vector: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + 4 * vector.len());
    // pgvector itself allows no more than 16 000 dimensions.
    bytes.extend((vector.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    vector.iter().for_each(|value| bytes.extend(value.to_be_bytes()));
    bytes
}
