//! The network layer by layer: Inception-v3 as TensorFlow published it on 2015-12-05 (Szegedy et al., 2016,
//! <https://arxiv.org/abs/1512.00567>), with the names that pytorch-fid gives its layers.
//!
//! It differs from the paper's in its pools: averages do not count the border, and the last block takes the maximum
//! where the one before it takes the average.

/// A part of the network; its input is the output of the part before it.
#[derive(Debug)]
pub enum InceptionPart {
    /// A convolution, batch normalisation and ReLU.
    Conv(InceptionConv),
    /// A pool over 3x3.
    Pool(InceptionPool),
    /// Branches with the same input; the channels of their outputs are concatenated.
    Fork(Vec<Vec<InceptionPart>>),
}

/// A pool over 3x3 positions.
#[derive(Debug, Clone, Copy)]
pub enum InceptionPool {
    /// Maximum, with stride 2 and no border.
    Halve,
    /// Maximum around every position.
    Maximum,
    /// Average around every position, without the border.
    Average,
}

#[derive(Debug)]
pub struct InceptionConv {
    /// Path in the state dict, e.g. `Mixed_5b.branch1x1`.
    pub name: String,
    /// Output channels.
    pub output: i64,
    /// Height and width.
    pub kernel: [i64; 2],
    pub stride: i64,
    /// Zeros at the border, so that stride 1 keeps the size.
    pub padded: bool,
}

fn conv(name: &str, output: i64, kernel: [i64; 2], stride: i64, padded: bool) -> InceptionPart {
    InceptionPart::Conv(InceptionConv { name: name.to_owned(), output, kernel, stride, padded })
}

/// A convolution that keeps width and height.
fn same(name: &str, output: i64, height: i64, width: i64) -> InceptionPart {
    conv(name, output, [height, width], 1, true)
}

/// A convolution of 3x3 without a border.
fn inner(name: &str, output: i64, stride: i64) -> InceptionPart {
    conv(name, output, [3, 3], stride, false)
}

/// All parts up to the last feature maps, for images of 299x299.
pub fn network() -> Vec<InceptionPart> {
    vec![
        inner("Conv2d_1a_3x3", 32, 2),
        inner("Conv2d_2a_3x3", 32, 1),
        same("Conv2d_2b_3x3", 64, 3, 3),
        InceptionPart::Pool(InceptionPool::Halve),
        same("Conv2d_3b_1x1", 80, 1, 1),
        inner("Conv2d_4a_3x3", 192, 1),
        InceptionPart::Pool(InceptionPool::Halve),
        named("Mixed_5b", block_a(32)),
        named("Mixed_5c", block_a(64)),
        named("Mixed_5d", block_a(64)),
        named("Mixed_6a", block_b()),
        named("Mixed_6b", block_c(128)),
        named("Mixed_6c", block_c(160)),
        named("Mixed_6d", block_c(160)),
        named("Mixed_6e", block_c(192)),
        named("Mixed_7a", block_d()),
        named("Mixed_7b", block_e(InceptionPool::Average)),
        named("Mixed_7c", block_e(InceptionPool::Maximum)),
    ]
}

/// 35x35, with `pooled` channels from the pool.
fn block_a(pooled: i64) -> Vec<Vec<InceptionPart>> {
    vec![
        vec![same("branch1x1", 64, 1, 1)],
        vec![same("branch5x5_1", 48, 1, 1), same("branch5x5_2", 64, 5, 5)],
        vec![
            same("branch3x3dbl_1", 64, 1, 1),
            same("branch3x3dbl_2", 96, 3, 3),
            same("branch3x3dbl_3", 96, 3, 3),
        ],
        vec![InceptionPart::Pool(InceptionPool::Average), same("branch_pool", pooled, 1, 1)],
    ]
}

/// From 35x35 to 17x17.
fn block_b() -> Vec<Vec<InceptionPart>> {
    vec![
        vec![inner("branch3x3", 384, 2)],
        vec![
            same("branch3x3dbl_1", 64, 1, 1),
            same("branch3x3dbl_2", 96, 3, 3),
            inner("branch3x3dbl_3", 96, 2),
        ],
        vec![InceptionPart::Pool(InceptionPool::Halve)],
    ]
}

/// 17x17, with 7x7 convolutions factored into 1x7 and 7x1, of `width` channels.
fn block_c(width: i64) -> Vec<Vec<InceptionPart>> {
    vec![
        vec![same("branch1x1", 192, 1, 1)],
        vec![
            same("branch7x7_1", width, 1, 1),
            same("branch7x7_2", width, 1, 7),
            same("branch7x7_3", 192, 7, 1),
        ],
        vec![
            same("branch7x7dbl_1", width, 1, 1),
            same("branch7x7dbl_2", width, 7, 1),
            same("branch7x7dbl_3", width, 1, 7),
            same("branch7x7dbl_4", width, 7, 1),
            same("branch7x7dbl_5", 192, 1, 7),
        ],
        vec![InceptionPart::Pool(InceptionPool::Average), same("branch_pool", 192, 1, 1)],
    ]
}

/// From 17x17 to 8x8.
fn block_d() -> Vec<Vec<InceptionPart>> {
    vec![
        vec![same("branch3x3_1", 192, 1, 1), inner("branch3x3_2", 320, 2)],
        vec![
            same("branch7x7x3_1", 192, 1, 1),
            same("branch7x7x3_2", 192, 1, 7),
            same("branch7x7x3_3", 192, 7, 1),
            inner("branch7x7x3_4", 192, 2),
        ],
        vec![InceptionPart::Pool(InceptionPool::Halve)],
    ]
}

/// 8x8, with branches that fork again, and one that begins with `pool`.
fn block_e(pool: InceptionPool) -> Vec<Vec<InceptionPart>> {
    let halves = |across: &str, down: &str| {
        InceptionPart::Fork(vec![vec![same(across, 384, 1, 3)], vec![same(down, 384, 3, 1)]])
    };
    vec![
        vec![same("branch1x1", 320, 1, 1)],
        vec![same("branch3x3_1", 384, 1, 1), halves("branch3x3_2a", "branch3x3_2b")],
        vec![
            same("branch3x3dbl_1", 448, 1, 1),
            same("branch3x3dbl_2", 384, 3, 3),
            halves("branch3x3dbl_3a", "branch3x3dbl_3b"),
        ],
        vec![InceptionPart::Pool(pool), same("branch_pool", 192, 1, 1)],
    ]
}

/// A fork whose convolutions have names that begin with that of a block.
fn named(block: &str, branches: Vec<Vec<InceptionPart>>) -> InceptionPart {
    fn under(block: &str, part: InceptionPart) -> InceptionPart {
        match part {
            InceptionPart::Conv(conv) => {
                InceptionPart::Conv(InceptionConv { name: format!("{block}.{}", conv.name), ..conv })
            }
            InceptionPart::Fork(branches) => named(block, branches),
            InceptionPart::Pool(pool) => InceptionPart::Pool(pool),
        }
    }
    let under_block =
        |branch: Vec<InceptionPart>| branch.into_iter().map(|part| under(block, part)).collect();
    InceptionPart::Fork(branches.into_iter().map(under_block).collect())
}
