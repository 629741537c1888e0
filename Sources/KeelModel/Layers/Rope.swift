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
    /// The base that the frequencies were made with.
    package let theta: Double
    /// How they were stretched; nil = not.
    package private(set) var scaling: Scaling?

    /// - Parameters:
    ///   - theta: the base, 10000 in the paper.
    ///   - dimensions: components of a head that turn; even.
    package init(theta: Double, dimensions: Int) {
        self.theta = theta
        frequencies = (0..<dimensions / 2).map { 1 / Rope.power(theta, $0, dimensions) }
    }

    /// theta^(2i / dimensions).
    private static func power(_ theta: Double, _ i: Int, _ dimensions: Int) -> Float {
        let exponent = Float(2 * i) / Float(dimensions)
        return Float(pow(Double(Float(theta)), Double(exponent)))
    }

    /// How a model was stretched beyond the context it was first trained on.
    package enum Scaling: Sendable, Equatable {
        /// Every frequency divided by `factor` (position interpolation, Chen et al. 2023).
        case linear(factor: Double)
        /// Llama 3.1: waves longer than context / low are divided by `factor`, those shorter than context / high
        /// stay, and in between the two are mixed in proportion to context / wavelength.
        case llama3(factor: Double, low: Double, high: Double, context: Double)
        /// YaRN (Peng et al. 2023, arXiv:2309.00071): pairs that turn more than `fast` times within the context stay,
        /// those that turn fewer than `slow` times are divided by `factor`, with a ramp in between;
        /// `attention` multiplies cosine and sine.
        case yarn(
            factor: Double, fast: Double, slow: Double, context: Double, attention: Double,
            isTruncated: Bool)
        /// NTK by length: nothing changes within `context`; the base grows beyond it.
        case dynamic(context: Int)
        /// LongRoPE (Ding et al. 2024, arXiv:2402.13753): a divisor of its own for every pair, one set for sequences
        /// within `context`, another for longer ones; `attention` multiplies cosine and sine.
        case longrope(short: [Float], long: [Float], context: Int, attention: Double)
    }

    /// Tokens of the longest sequence whose frequencies these are; nil = any.
    ///
    /// A longer one would change the positions of tokens that stand before its end, so that rows would depend on what
    /// follows them.
    package var reach: Int? {
        switch scaling {
        case .dynamic(let context), .longrope(_, _, let context, _): context
        case nil, .linear, .llama3, .yarn: nil
        }
    }

    /// The same positions, stretched.
    package func scaled(_ scaling: Scaling) -> Rope {
        var rope = self
        rope.scaling = scaling
        switch scaling {
        case .linear(let factor):
            rope.frequencies = frequencies.map { $0 / Float(factor) }
        case .llama3(let factor, let low, let high, let context):
            rope.frequencies = frequencies.map { frequency in
                let turns = context * Double(frequency) / (2 * Double.pi)
                // 0 for waves that are stretched whole, 1 for those that stay.
                let kept = Float(min(max((turns - low) / (high - low), 0), 1))
                return (1 - kept) * frequency / Float(factor) + kept * frequency
            }
        case .yarn(let factor, let fast, let slow, let context, let attention, let isTruncated):
            // The pair that turns so many times within the context.
            func pair(_ turns: Double) -> Double {
                Double(frequencies.count) * log(context / (turns * 2 * Double.pi)) / log(theta)
            }
            let first = max(isTruncated ? pair(fast).rounded(.down) : pair(fast), 0)
            let last = min(
                isTruncated ? pair(slow).rounded(.up) : pair(slow),
                Double(2 * frequencies.count - 1))
            let width = last == first ? 0.001 : last - first
            rope.frequencies = frequencies.enumerated().map { i, frequency in
                let stretched = Float(min(max((Double(i) - first) / width, 0), 1))
                return stretched * frequency / Float(factor) + (1 - stretched) * frequency
            }
            rope.scale = Float(attention)
        case .dynamic: break
        case .longrope(let short, _, _, let attention):
            rope.frequencies = short.enumerated().map { i, divisor in
                1 / (divisor * Rope.power(theta, i, 2 * short.count))
            }
            rope.scale = Float(attention)
        }
        return rope
    }
}
