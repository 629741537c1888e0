import Foundation
import KeelTestSupport
import Testing

@testable import KeelTensor

@Suite struct DrawTests {
    @Test(arguments: ISA.allCases)
    func theInverseOfTheCumulativeDistribution(isa: ISA) {
        let device = Device.cpu(threads: 1, isa: isa)
        let logits: [Float] = [-.infinity, 0, Float(log(3.0)), -.infinity]
        let draw = Draw(logits[...], device)
        #expect(draw.isUsable)
        #expect(draw.token(logits[...], 0) == 1)
        #expect(draw.token(logits[...], 0.2499) == 1)
        #expect(draw.token(logits[...], 0.2501) == 2)
        #expect(draw.token(logits[...], 1 - 0x1p-53) == 2)
        #expect(abs(draw.logprob(logits[2]) - Float(log(0.75))) < 1e-6)
    }

    @Test(arguments: [[.nan, 0], [.infinity, 0], [-.infinity, -.infinity], []] as [[Float]])
    func whatCannotBeDrawnFrom(logits: [Float]) {
        #expect(!Draw(logits[...], .cpu(threads: 1)).isUsable)
    }

    @Test func largeLogitsDoNotOverflow() {
        let logits: [Float] = [1e30, 1e30, -1e30]
        #expect(Draw(logits[...], .cpu(threads: 1)).token(logits[...], 0.75) == 1)
    }

    /// Against the sums one by one, in f64; the row is a slice of a longer list, several blocks long.
    @Test(arguments: ISA.allCases)
    func longRows(isa: ISA) {
        let device = Device.cpu(threads: 1, isa: isa)
        let all = (0..<9000).map { i in
            i % 7 == 3 ? -Float.infinity : Float(sin(Double(i) * 1.7) * 4)
        }
        let logits = all[1000..<8333]
        let draw = Draw(logits, device)
        let p = logits.map { exp(Double($0)) }
        let sum = p.reduce(0, +)
        for i in [0, 1, 5000, 7332] where logits[1000 + i].isFinite {
            let expected = log(p[i] / sum)
            #expect(abs(Double(draw.logprob(logits[1000 + i])) - expected) < 2e-6)
        }
        for u in [0.0, 1e-9, 0.1, 0.25, 0.5, 0.77, 0.999, 1 - 0x1p-53] {
            let token = Int(draw.token(logits, u))
            #expect(p[token] > 0)
            let below = p[..<token].reduce(0, +) / sum
            let above = p[...token].reduce(0, +) / sum
            #expect(below <= u + 1e-6 && u - 1e-6 <= above, "\(u) in \(below)...\(above)")
        }
    }
}
