/// The ranks of a run, as the loops see them.
///
/// Data order, denominators, random streams and checkpoints are written against this, so that a run
/// over several processes changes nothing but the communicator. Reductions sum in rank order: the
/// result has the same bits on every rank.
package protocol Communicator: AnyObject {
    /// This process, 0 ..< size.
    var rank: Int { get }
    var size: Int { get }
    /// Element-wise sum over all ranks.
    func allReduce(_ values: [Double]) throws -> [Double]
    /// Every rank's values, in rank order.
    func allGather(_ values: [Double]) throws -> [[Double]]
    /// The values of `root`, on every rank.
    func broadcast(_ values: [Double], from root: Int) throws -> [Double]
    /// Returns when every rank has called it.
    func barrier() throws
}

/// The communicator of a run in one process.
package final class SingleRank: Communicator {
    package let rank = 0
    package let size = 1

    package init() {}

    package func allReduce(_ values: [Double]) -> [Double] { values }
    package func allGather(_ values: [Double]) -> [[Double]] { [values] }
    package func broadcast(_ values: [Double], from root: Int) -> [Double] { values }
    package func barrier() {}
}
