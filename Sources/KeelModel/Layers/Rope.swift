import Glibc

/// Rotary positions: pair i of a head turns by position * frequencies[i].
///
///     frequencies[i] = theta^(-2i / dimensions), rounded to f32 as transformers does
///
/// Su et al. 2021, "RoFormer". Pairs are (i, i + dimensions / 2), the Hugging Face layout.
package struct Rope: Sendable, Equatable {
    /// Radians per position, one for each pair.
    package var frequencies: [Float]
    /// Factor on cosine and sine (YaRN's attention factor); 1 without scaling.
    package var scale: Float = 1

    /// - Parameters:
    ///   - theta: the base, 10000 in the paper.
    ///   - dimensions: components of a head that turn; even.
    package init(theta: Double, dimensions: Int) {
        frequencies = (0..<dimensions / 2).map { i in
            let exponent = Float(2 * i) / Float(dimensions)
            return 1 / Float(pow(Double(Float(theta)), Double(exponent)))
        }
    }
}
